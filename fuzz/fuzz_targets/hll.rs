//! Gives hostile bytes to every HyperLogLog function: none may panic, and what they accept must hold together.
//!
//! Input: one byte that chooses a header to put before the rest, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strata::value::hll::{self, Encoding, REGISTERS};

const HEADER_BYTES: usize = 16;

fuzz_target!(|data: &[u8]| {
    let [choice, body @ ..] = data else { return };
    let bytes = match choice % 3 {
        0 => body.to_vec(),
        1 => [&hll::new_sparse()[..HEADER_BYTES], body].concat(),
        _ => dense(body),
    };
    let valid = hll::validate(&bytes);
    let registers = hll::registers(&bytes);

    for limit in [0, 64, 3000] {
        let mut changed = bytes.clone();
        let result = hll::add(&mut changed, body, limit);
        assert_eq!(hll::validate(&changed), valid, "adding keeps the header");
        if registers.is_ok() {
            assert!(result.is_ok());
            assert!(hll::registers(&changed).is_ok());
            assert_eq!(
                hll::add(&mut changed, body, limit),
                Ok(false),
                "the second time changes nothing"
            );
        }
        if hll::count(&mut changed).is_ok() && hll::cached_count(&changed).is_some() {
            assert_eq!(hll::count(&mut changed).ok(), hll::cached_count(&changed));
        }
    }

    let _ = hll::decode(&bytes);
    let mut converted = bytes.clone();
    assert_eq!(hll::to_dense(&mut converted).is_ok(), registers.is_ok());
    if let Ok(registers) = registers {
        assert_eq!(hll::encoding(&converted), Some(Encoding::Dense));
        assert_eq!(hll::registers(&converted).as_ref(), Ok(&registers));
        let _ = hll::count_registers(&registers);
        let mut stored = hll::new_sparse();
        assert!(hll::store_registers(&mut stored, &registers, choice & 0x80 != 0, 200).is_ok());
        assert_eq!(hll::registers(&stored).as_ref(), Ok(&registers));
    }
    let mut registers = [1; REGISTERS];
    let _ = hll::merge_registers(&mut registers, &bytes);
});

/// A dense HyperLogLog whose first registers are `body`.
fn dense(body: &[u8]) -> Vec<u8> {
    let mut bytes = hll::new_sparse();
    let _ = hll::to_dense(&mut bytes);
    bytes[HEADER_BYTES..]
        .iter_mut()
        .zip(body)
        .for_each(|(to, from)| *to = *from);
    bytes
}
