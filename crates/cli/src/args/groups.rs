//! The first screen: the commands by what they are about. The grammar's library knows groups of flags, not of commands.

use clap::Command;
use std::fmt::Write;

/// What the commands are about, and their names, in the order of the screen.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Run",
        &["run", "create", "start", "restart", "stop", "kill", "rm"],
    ),
    (
        "Look at VMs and work in them",
        &[
            "ps", "exec", "attach", "logs", "cp", "port", "top", "stats", "inspect", "wait",
            "pause", "unpause", "rename", "update",
        ],
    ),
    ("Go on from a running VM", &["fork", "snapshot", "warm"]),
    (
        "Images, storage and networks",
        &["pull", "images", "rmi", "volume", "network", "df", "prune"],
    ),
    (
        "This host",
        &["setup", "doctor", "completion", "version", "help"],
    ),
];

/// What `help` does, which the library adds by itself, later than the screen is made.
const HELP: &str = "Print this screen or that of a command";

/// The same grammar, with the commands of its first screen in groups.
pub fn group(grammar: Command) -> Command {
    let width = grammar
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().len())
        .max()
        .unwrap_or_default();
    let mut screen = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    for (about, names) in GROUPS {
        let _ = writeln!(screen, "\n{about}:");
        for name in names {
            let about = grammar
                .find_subcommand(name)
                .and_then(Command::get_about)
                .map_or(HELP.to_owned(), ToString::to_string);
            let _ = writeln!(screen, "  {name:width$}  {about}");
        }
    }
    screen.push_str("\nOptions:\n{options}{after-help}");
    grammar.help_template(screen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Line;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_is_in_one_group() {
        let mut grammar = Line::command();
        grammar.build();
        let shown = grammar
            .get_subcommands()
            .filter(|command| !command.is_hide_set());
        let known: BTreeSet<&str> = shown.map(Command::get_name).collect();
        let grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(grouped.len(), known.len());
    }
}
