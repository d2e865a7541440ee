//! The commented `conf/strata.conf`, made from the rows.
//!
//! The same for `docs/options.md`. After a change of a row: `UPDATE_CONF=1 cargo test --lib config::template` writes both anew.

use super::options::{OPTIONS, Opt, Section, all};

/// Comment lines are at most this wide.
const WIDTH: usize = 100;

/// The text of `conf/strata.conf`. `#name value` (without a blank) is an option at its default; any other comment is prose.
#[must_use]
pub fn template() -> String {
    let mut text = String::new();
    for line in HEAD.lines() {
        push_comment(&mut text, line);
    }
    for section in Section::ALL {
        text.push_str(&format!("\n### {}\n", section.title()));
        for option in OPTIONS.iter().filter(|option| option.section == *section) {
            push_option(&mut text, option);
        }
    }
    text
}

/// The text of `docs/options.md`: the options that have no effect.
pub fn reference() -> String {
    let mut text = String::from(REFERENCE);
    for option in all().filter(|option| option.section == Section::Inert) {
        let names: Vec<_> = option.names().map(|name| format!("`{name}`")).collect();
        let default = match option.default {
            "" => "empty".to_owned(),
            default => format!("`{default}`"),
        };
        let row = format!(
            "| {} | {default} | {} | {} |\n",
            names.join(", "),
            option.allowed(),
            option.rule()
        );
        text.push_str(&row);
    }
    text
}

const REFERENCE: &str = "# Options of Redis and Valkey without effect

What has an effect is in [conf/strata.conf](../conf/strata.conf), with what each option does. Below are the options of Redis 8.10, of
Valkey 9.1 and of earlier versions that Strata accepts without doing anything about them, so that configuration files and clients find
them: values are checked, `CONFIG GET` shows what was set, and a value in a file, a flag or the environment that asks for something else
than the default gives one warning at the start. Some are refused, because going on would break a promise.

| option | default | allowed | what becomes of another value |
|---|---|---|---|
";

const HEAD: &str = "Strata's configuration. Every option is here, commented out, at its default.
To change one, remove the '#' before its name.

The syntax is that of redis.conf. Start with: strata /path/to/strata.conf
Each option is also a flag (--maxmemory 1gb) and a variable of the environment (STRATA_MAXMEMORY=1gb).
A flag wins over the environment, the environment over this file, this file over the defaults.
An environment variable that is empty counts as unset.

Sizes: 1k is 1000 bytes, 1kb is 1024 bytes; m, mb, g and gb likewise; case does not matter.
'include /path/to/other.conf' reads another file at that place; the last part of the path may have * and ?.";

fn push_option(text: &mut String, option: &Opt) {
    text.push('\n');
    push_comment(text, option.summary);
    push_comment(text, &format!("Allowed: {}.", option.allowed()));
    let mut names = vec![option.env_name()];
    names.extend(option.env_aliases.iter().map(|&alias| alias.to_owned()));
    let change = if option.at_run_time {
        "Can be changed while running"
    } else {
        "Read at the start only"
    };
    push_comment(
        text,
        &format!("{change}. Environment: {}.", names.join(", ")),
    );
    text.push_str(&format!("#{} {}\n", option.name, option.default));
}

/// Wraps prose into comment lines.
fn push_comment(text: &mut String, prose: &str) {
    let mut line = String::from("#");
    for word in prose.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, load, scratch::Scratch};
    use std::path::Path;

    #[test]
    fn the_committed_file_is_the_generated_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/strata.conf");
        if std::env::var_os("UPDATE_CONF").is_some() {
            std::fs::write(&path, template()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == template(),
            "run: UPDATE_CONF=1 cargo test --lib config::template"
        );
    }

    #[test]
    fn the_committed_reference_is_the_generated_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
        if std::env::var_os("UPDATE_CONF").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == reference(),
            "run: UPDATE_CONF=1 cargo test --lib config::template"
        );
    }

    #[test]
    fn the_template_names_every_option_at_its_default() {
        let mut active = String::new();
        for option in OPTIONS {
            let line = format!("#{} {}", option.name, option.default);
            assert!(template().lines().any(|own| own == line), "{line}");
            active.push_str(&line[1..]);
            active.push('\n');
        }
        let scratch = Scratch::new();
        let commented = load::from_file(&scratch.write("commented.conf", &template())).unwrap();
        let active = load::from_file(&scratch.write("active.conf", &active)).unwrap();
        assert_eq!(commented, Config::default());
        assert_eq!(active, Config::default());
    }
}
