//! Brings arguments into the one form that argh reads.
//!
//! argh wants `--option value`, global options in front of the command and everything else behind it, and knows
//! neither aliases nor `-h` nor `--version`. People write `--option=value`, `-cFILE`, options anywhere, and `help
//! COMMAND`. What options there are is asked of argh's own description, so that nothing is written down twice.
//!
//! Mistakes are found here too, since argh's messages repeat the argument: a URL's password must not be printed.

mod error;
mod tokens;

use std::collections::BTreeSet;
use std::ffi::OsString;

use argh::{CommandInfoWithArgs, FlagInfo};

pub use error::UsageError;

use tokens::{Given, HELP, Token, VERSION_OPTION, all_flags, tokens};

use crate::config::suggest::nearest;

/// Other names for commands.
const COMMAND_ALIASES: [(&str, &str); 1] = [("destroy", "tear-down")];

const VERSION_COMMAND: &str = "version";

/// Rewrites arguments to `[global options] command [its options]`, as `program` describes them.
///
/// # Errors
///
/// Whatever is not known, given twice, or without its value. The message holds names only, never a value.
pub fn normalise(
    arguments: impl IntoIterator<Item = OsString>,
    program: &CommandInfoWithArgs,
) -> Result<Vec<String>, UsageError> {
    let mut words = Vec::new();
    let mut options = Vec::new();
    let mut help = false;
    for token in tokens(arguments, program)? {
        match token {
            Token::Word(word) if word == "help" => help = true,
            Token::Word(word) => words.push(word),
            Token::Option(given) if given.name == HELP => help = true,
            Token::Option(given) if given.name == VERSION_OPTION => {
                return Ok(vec![VERSION_COMMAND.to_owned()]);
            }
            Token::Option(given) => options.push(given),
        }
    }

    let Some((first, further)) = words.split_first() else {
        if help {
            return Ok(vec![HELP.to_owned()]);
        }
        reject_unknown(&options, program, None)?;
        return Err(UsageError::new(format!(
            "no command given: write one of {}",
            names(program).join(", ")
        )));
    };
    let command = match find_command(first, program) {
        Ok(command) => command,
        Err(error) => {
            // The value of an option that is not known looks like a command that is not known.
            reject_unknown(&options, program, None)?;
            return Err(error);
        }
    };
    if help {
        return Ok(vec![command.name.to_owned(), HELP.to_owned()]);
    }
    reject_unknown(&options, program, Some(command))?;
    if let Some(word) = further.first() {
        return Err(UsageError::of(command, surplus(word)));
    }
    arrange(options, program, command)
}

fn find_command<'a>(
    word: &str,
    program: &'a CommandInfoWithArgs,
) -> Result<&'a CommandInfoWithArgs, UsageError> {
    let alias = COMMAND_ALIASES.iter().find(|(alias, _)| *alias == word);
    let name = alias.map_or(word, |(_, name)| name);
    if let Some(found) = program.commands.iter().find(|command| command.name == name) {
        return Ok(&found.command);
    }
    let names = names(program);
    Err(UsageError::new(match nearest(word, names.iter().copied()) {
        Some(known) => format!("the command {word:?} is not known: did you mean {known}?"),
        None if word.contains("://") => surplus(word),
        None => format!(
            "the command {word:?} is not known: write one of {}",
            names.join(", ")
        ),
    }))
}

/// Refuses the first option that is not the program's or, where there is one, the command's.
fn reject_unknown(
    options: &[Given],
    program: &CommandInfoWithArgs,
    command: Option<&CommandInfoWithArgs>,
) -> Result<(), UsageError> {
    let flags: Vec<&FlagInfo> = match command {
        Some(command) => program.flags.iter().chain(command.flags).collect(),
        None => all_flags(program).collect(),
    };
    let Some(given) = options
        .iter()
        .find(|given| !flags.iter().any(|flag| flag.long == given.name))
    else {
        return Ok(());
    };
    let name = &given.name;
    let message = match (
        command,
        nearest(bare(name), flags.iter().map(|flag| bare(flag.long))),
    ) {
        (Some(command), _) if given.known => {
            format!("the option {name} is not one of the command {}", command.name)
        }
        (_, Some(known)) => format!("the option {name} is not known: did you mean --{known}?"),
        (_, None) => format!("the option {name} is not known"),
    };
    Err(match command {
        Some(command) => UsageError::of(command, message),
        None => UsageError::new(message),
    })
}

/// Puts global options in front of the command and its own behind it.
fn arrange(
    options: Vec<Given>,
    program: &CommandInfoWithArgs,
    command: &CommandInfoWithArgs,
) -> Result<Vec<String>, UsageError> {
    let (mut before, mut behind) = (Vec::new(), vec![command.name.to_owned()]);
    let mut seen = BTreeSet::new();
    for Given { name, value, .. } in options {
        if !seen.insert(name.clone()) {
            return Err(UsageError::of(
                command,
                format!("the option {name} is given twice: keep one"),
            ));
        }
        let is_global = program.flags.iter().any(|flag| flag.long == name);
        let side = if is_global { &mut before } else { &mut behind };
        side.push(name);
        side.extend(value);
    }
    before.append(&mut behind);
    Ok(before)
}

/// A word that no command takes. It is not repeated where it may be a URL with a password.
fn surplus(word: &str) -> String {
    if word.contains("://") {
        "a URL stands alone: write --pgurl in front of it".to_owned()
    } else {
        format!("the argument {word:?} is one too many")
    }
}

fn names(program: &CommandInfoWithArgs) -> Vec<&'static str> {
    program.commands.iter().map(|command| command.name).collect()
}

fn bare(option: &str) -> &str {
    option.trim_start_matches('-')
}

#[cfg(test)]
mod tests {
    use argh::{FlagInfoKind, Optionality, SubCommandInfo};

    use super::*;

    const fn flag(long: &'static str, short: Option<char>, kind: FlagInfoKind<'static>) -> FlagInfo<'static> {
        let description = "";
        FlagInfo {
            kind,
            optionality: Optionality::Optional,
            long,
            short,
            description,
            hidden: false,
        }
    }

    const fn option(long: &'static str, short: Option<char>, arg_name: &'static str) -> FlagInfo<'static> {
        flag(long, short, FlagInfoKind::Option { arg_name })
    }

    const HELP_FLAG: FlagInfo = flag("--help", None, FlagInfoKind::Switch);
    const PGURL: FlagInfo = option("--pgurl", None, "url");

    fn command(name: &'static str, flags: &'static [FlagInfo<'static>]) -> SubCommandInfo {
        SubCommandInfo {
            name,
            command: CommandInfoWithArgs {
                name,
                flags,
                ..Default::default()
            },
        }
    }

    fn program() -> CommandInfoWithArgs {
        const GLOBAL: &[FlagInfo] = &[
            HELP_FLAG,
            option("--log-level", None, "level"),
            flag("--no-color", None, FlagInfoKind::Switch),
        ];
        const RUN: &[FlagInfo] = &[HELP_FLAG, option("--config", Some('c'), "file"), PGURL];
        const TEAR_DOWN: &[FlagInfo] = &[HELP_FLAG, PGURL];
        let commands = vec![
            command("run", RUN),
            command("tear-down", TEAR_DOWN),
            command("version", &[HELP_FLAG]),
        ];
        CommandInfoWithArgs {
            flags: GLOBAL,
            commands,
            ..Default::default()
        }
    }

    fn normal(arguments: &str) -> Result<String, String> {
        let arguments = arguments.split_whitespace().map(OsString::from);
        normalise(arguments, &program())
            .map(|normal| normal.join(" "))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_way_of_writing_becomes_one() {
        for (arguments, expected) in [
            ("run", "run"),
            (
                "run -c f.env --log-level trace",
                "--log-level trace run --config f.env",
            ),
            (
                "run --config=f.env --log-level=trace",
                "--log-level trace run --config f.env",
            ),
            ("run -cf.env", "run --config f.env"),
            ("run -c=f.env", "run --config f.env"),
            ("run -c -", "run --config -"),
            ("-c f.env --no-color run", "--no-color run --config f.env"),
            (
                "run --pgurl=postgres://h?sslmode=disable",
                "run --pgurl postgres://h?sslmode=disable",
            ),
            ("run --pgurl=", "run --pgurl "),
            ("destroy --postgres-url u", "tear-down --pgurl u"),
            ("run --config -5", "run --config -5"),
            ("--version", "version"),
            ("-V", "version"),
            ("run --version", "version"),
            ("-h", "--help"),
            ("help", "--help"),
            ("help run", "run --help"),
            ("run help", "run --help"),
            ("--help run", "run --help"),
            ("run --pgurl u -h --nonsense", "run --help"),
            ("destroy --help", "tear-down --help"),
        ] {
            assert_eq!(normal(arguments).as_deref(), Ok(expected), "{arguments}");
        }
    }

    #[test]
    fn mistakes_are_named_with_what_to_write() {
        for (arguments, expected) in [
            (
                "",
                "no command given: write one of run, tear-down, version\nRun `pgstream --help`",
            ),
            ("rnu", "the command \"rnu\" is not known: did you mean run?"),
            ("teardown", "did you mean tear-down?"),
            (
                "frobnicate",
                "the command \"frobnicate\" is not known: write one of run, tear-down, version",
            ),
            (
                "run --pgulr u",
                "the option --pgulr is not known: did you mean --pgurl?\nRun `pgstream run --help`",
            ),
            (
                "--log-levle trace run",
                "the option --log-levle is not known: did you mean --log-level?",
            ),
            (
                "--log-levle=trace",
                "the option --log-levle is not known: did you mean --log-level?",
            ),
            ("run --zzz", "the option --zzz is not known\n"),
            ("run -x", "the option -x is not known"),
            ("run --", "the option -- is not known"),
            (
                "tear-down --config f",
                "the option --config is not one of the command tear-down",
            ),
            (
                "run --config",
                "the option --config has no value: write --config <file>",
            ),
            ("run --pgurl --config f", "the option --pgurl has no value"),
            ("run --no-color=yes", "the option --no-color takes no value"),
            ("run -c a --config b", "the option --config is given twice"),
            ("run now", "the argument \"now\" is one too many"),
        ] {
            let error = normal(arguments).expect_err(arguments);
            assert!(error.contains(expected), "{arguments}: {error}");
        }
    }

    #[test]
    fn no_mistake_repeats_a_password() {
        for arguments in [
            "run postgres://u:secret@h",
            "postgres://u:secret@h",
            "run --pgulr=postgres://u:secret@h",
            "run --pgulr postgres://u:secret@h",
            "run --pgurl a --pgurl postgres://u:secret@h",
            "run --no-color=secret",
        ] {
            let error = normal(arguments).expect_err(arguments);
            assert!(!error.contains("secret"), "{arguments}: {error}");
        }
    }
}
