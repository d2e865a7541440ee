//! HELP of the container commands: one shape for all.

use super::Context;

/// Answers with the head, the lines that tell of the subcommands, and HELP itself.
pub(super) fn reply_help(cx: &mut Context<'_>, container: &str, lines: &[&str]) {
    cx.reply.array(lines.len() + 3);
    cx.reply.simple(&format!(
        "{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    for line in lines {
        cx.reply.simple(line);
    }
    cx.reply.simple("HELP");
    cx.reply.simple("    Prints this help.");
}
