//! What other servers write that Strata does not have: passed over, so that what follows can be read.
//!
//! ```text
//! module value   id of the module (n) | parts                                                                (type 7)
//! module data    id (n) | n | when (n) | parts                                                                (part 247)
//! parts          0: the end | 1 or 2, n | 3, a float (4) | 4, a double (8) | 5, a text
//! key metadata   classes (n) | for each: its name (4), parts                                  (part 243 of Redis)
//! slot import    a text: its name | ranges (n) | for each: n, n                               (part 243 of Valkey)
//! functions      a text: name | a text: engine | 1, a text: description, or 0 | a text: code  (part 246, of 7.0 RC)
//! array          elements (n) | 0, or 1 and the place of the last insertion (n)
//!                | for each: its index (n), 0 or 3 and a text, 1 and an integer (8), 2 and a double (8)      (type 28)
//! ```

use super::input::{Fault, Input, array, length, text};

/// The part in front of a type: what modules know of a key. Valkey has another part of that number.
pub(super) const KEY_META: u8 = 243;

const PARTS_BROKEN: Fault = Fault::Broken("data of a module are broken");

/// What a module has written, up to its end.
fn skip_parts(input: &mut impl Input) -> Result<(), Fault> {
    loop {
        match length(input)? {
            0 => return Ok(()),
            1 | 2 => {
                length(input)?;
            }
            3 => {
                input.bytes(4)?;
            }
            4 => {
                input.bytes(8)?;
            }
            5 => text(input, |_| ())?,
            _ => return Err(PARTS_BROKEN),
        }
    }
}

/// A value of a module.
pub(super) fn skip_module_value(input: &mut impl Input) -> Result<(), Fault> {
    length(input)?;
    skip_parts(input)
}

/// Data of a module that belong to no key.
pub(super) fn skip_module_data(input: &mut impl Input) -> Result<(), Fault> {
    for _ in 0..3 {
        length(input)?;
    }
    skip_parts(input)
}

/// What modules know of a key.
pub(super) fn skip_key_meta(input: &mut impl Input) -> Result<(), Fault> {
    for _ in 0..length(input)? {
        input.bytes(4)?;
        skip_parts(input)?;
    }
    Ok(())
}

/// That a node of a cluster was about to get slots.
pub(super) fn skip_slot_import(input: &mut impl Input) -> Result<(), Fault> {
    text(input, |_| ())?;
    for _ in 0..length(input)? {
        length(input)?;
        length(input)?;
    }
    Ok(())
}

/// Functions of a release candidate of Redis 7.0.
pub(super) fn skip_early_functions(input: &mut impl Input) -> Result<(), Fault> {
    text(input, |_| ())?;
    text(input, |_| ())?;
    if length(input)? != 0 {
        text(input, |_| ())?;
    }
    text(input, |_| ())
}

/// An array.
pub(super) fn skip_array(input: &mut impl Input) -> Result<(), Fault> {
    let elements = length(input)?;
    if length(input)? != 0 {
        length(input)?;
    }
    for _ in 0..elements {
        length(input)?;
        match array(input)? {
            [0 | 3] => text(input, |_| ())?,
            [1 | 2] => {
                input.bytes(8)?;
            }
            _ => return Err(Fault::Broken("an element of an array is of no kind")),
        }
    }
    Ok(())
}
