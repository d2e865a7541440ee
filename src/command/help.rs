//! The reply of the HELP subcommands, the same for all containers.

use crate::resp::Reply;

/// Answers what a container can do. `lines` has its subcommands, each followed by what it does,
/// indented by four spaces; HELP itself is added.
pub(super) fn help(reply: &mut Reply, container: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!(
        "{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    lines.iter().for_each(|line| reply.simple(line));
    reply.simple("HELP");
    reply.simple("    Prints this help.");
}
