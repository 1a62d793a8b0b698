//! Brings arguments into the one form that argh reads.
//!
//! argh wants `--option value`, global options in front of the command and everything else behind it, and knows
//! neither aliases nor `-h` nor `--version`. People write `--option=value`, `-cFILE`, options anywhere, and `help
//! COMMAND`. What commands and options there are is asked of argh's own description, so that nothing is written down twice.
//!
//! Mistakes are found here too, since argh's messages repeat the argument: a URL's password must not be printed.

mod error;
mod tokens;

use std::collections::BTreeSet;
use std::ffi::OsString;

use argh::{CommandInfoWithArgs, FlagInfo, Optionality, PositionalInfo};

pub use error::UsageError;

use tokens::{Given, HELP, Token, VERSION_OPTION, all_flags, tokens};

use crate::config::suggest::nearest;

/// Other names for commands.
const COMMAND_ALIASES: [(&str, &str); 2] = [("destroy", "tear-down"), ("dead-letters", "deadletters")];

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

    let Chosen { path, values } = match choose(&words, program) {
        Ok(chosen) => chosen,
        Err(error) => {
            // The value of an option that is not known looks like a command that is not known.
            reject_unknown(&options, program, &[])?;
            return Err(error);
        }
    };
    if help {
        let mut normal: Vec<String> = path.iter().map(|command| command.name.to_owned()).collect();
        normal.push(HELP.to_owned());
        return Ok(normal);
    }
    reject_unknown(&options, program, &path)?;
    let Some(command) = path.last() else {
        return Err(UsageError::new(lacking(program)));
    };
    if !command.commands.is_empty() {
        return Err(UsageError::of(&path, lacking(command)));
    }
    let taken = command.positionals.len();
    if let Some(word) = values.get(taken) {
        return Err(UsageError::of(&path, surplus(word, command)));
    }
    if let Some(missing) = required(command).nth(values.len()) {
        return Err(UsageError::of(
            &path,
            format!("the argument <{}> is missing", missing.name),
        ));
    }
    arrange(options, program, &path, values)
}

/// The command that the words name, from the outermost in, and what they say to it.
struct Chosen<'a, 'w> {
    path: Vec<&'a CommandInfoWithArgs>,
    values: &'w [String],
}

fn choose<'a, 'w>(
    words: &'w [String],
    program: &'a CommandInfoWithArgs,
) -> Result<Chosen<'a, 'w>, UsageError> {
    let (mut path, mut values, mut group) = (Vec::new(), words, program);
    while !group.commands.is_empty()
        && let Some((word, further)) = values.split_first()
    {
        group = find_command(word, group, &path)?;
        path.push(group);
        values = further;
    }
    Ok(Chosen { path, values })
}

fn required(command: &CommandInfoWithArgs) -> impl Iterator<Item = &'static PositionalInfo<'static>> {
    let is_required = |info: &&PositionalInfo| info.optionality == Optionality::Required;
    command.positionals.iter().filter(is_required)
}

fn lacking(group: &CommandInfoWithArgs) -> String {
    format!("no command given: write one of {}", names(group).join(", "))
}

fn find_command<'a>(
    word: &str,
    group: &'a CommandInfoWithArgs,
    path: &[&CommandInfoWithArgs],
) -> Result<&'a CommandInfoWithArgs, UsageError> {
    let alias = COMMAND_ALIASES.iter().find(|(alias, _)| *alias == word);
    let name = alias.map_or(word, |(_, name)| name);
    if let Some(found) = group.commands.iter().find(|command| command.name == name) {
        return Ok(&found.command);
    }
    let names = names(group);
    let described = described(path);
    let message = match nearest(word, names.iter().copied()) {
        Some(known) => {
            format!("the command {described}{word:?} is not known: did you mean {described}{known}?")
        }
        None if word.contains("://") => surplus(word, group),
        None => format!(
            "the command {described}{word:?} is not known: write one of {}",
            names.join(", ")
        ),
    };
    Err(UsageError::of(path, message))
}

/// Refuses the first option that is neither the program's nor, where there is one, the command's.
fn reject_unknown(
    options: &[Given],
    program: &CommandInfoWithArgs,
    path: &[&CommandInfoWithArgs],
) -> Result<(), UsageError> {
    let flags: Vec<&FlagInfo> = match path {
        [] => all_flags(program),
        path => {
            let of_path = path.iter().flat_map(|command| command.flags);
            program.flags.iter().chain(of_path).collect()
        }
    };
    let Some(given) = options
        .iter()
        .find(|given| !flags.iter().any(|flag| flag.long == given.name))
    else {
        return Ok(());
    };
    let name = &given.name;
    let message = match nearest(bare(name), flags.iter().map(|flag| bare(flag.long))) {
        _ if given.known && !path.is_empty() => {
            format!(
                "the option {name} is not one of the command {}",
                described(path).trim_end()
            )
        }
        Some(known) => format!("the option {name} is not known: did you mean --{known}?"),
        None => format!("the option {name} is not known"),
    };
    Err(UsageError::of(path, message))
}

/// Puts global options in front of the command, and its own and its values behind it.
fn arrange(
    options: Vec<Given>,
    program: &CommandInfoWithArgs,
    path: &[&CommandInfoWithArgs],
    values: &[String],
) -> Result<Vec<String>, UsageError> {
    let mut before = Vec::new();
    let mut behind: Vec<String> = path.iter().map(|command| command.name.to_owned()).collect();
    let mut seen = BTreeSet::new();
    for Given { name, value, .. } in options {
        if !seen.insert(name.clone()) {
            return Err(UsageError::of(
                path,
                format!("the option {name} is given twice: keep one"),
            ));
        }
        let is_global = program.flags.iter().any(|flag| flag.long == name);
        let side = if is_global { &mut before } else { &mut behind };
        side.push(name);
        side.extend(value);
    }
    before.append(&mut behind);
    before.extend(values.iter().cloned());
    Ok(before)
}

/// The words that lead to a command, each with a space behind it.
fn described(path: &[&CommandInfoWithArgs]) -> String {
    path.iter().map(|command| format!("{} ", command.name)).collect()
}

/// A word that the command does not take. It is not repeated where it may be a URL with a password.
fn surplus(word: &str, command: &CommandInfoWithArgs) -> String {
    if word.contains("://") && !command.positionals.is_empty() {
        "a URL is one too many".to_owned()
    } else if word.contains("://") {
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

    fn group() -> SubCommandInfo {
        const MOVE: &[PositionalInfo] = &[positional("from"), positional("to")];
        const MOVE_FLAGS: &[FlagInfo] = &[HELP_FLAG, PGURL, flag("--json", None, FlagInfoKind::Switch)];
        let mut group = command("endpoints", &[HELP_FLAG]);
        let mut moving = command("move", MOVE_FLAGS);
        moving.command.positionals = MOVE;
        group.command.commands = vec![command("list", &[HELP_FLAG, PGURL]), moving];
        group
    }

    const fn positional(name: &'static str) -> PositionalInfo<'static> {
        PositionalInfo {
            name,
            description: "",
            optionality: Optionality::Required,
            hidden: false,
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
            group(),
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
            ("endpoints list --pgurl=u", "endpoints list --pgurl u"),
            (
                "--pgurl u endpoints --json move --no-color http://a http://b",
                "--no-color endpoints move --pgurl u --json http://a http://b",
            ),
            ("endpoints --help", "endpoints --help"),
            ("help endpoints", "endpoints --help"),
            ("endpoints help move", "endpoints move --help"),
            ("endpoints move http://a -h", "endpoints move --help"),
        ] {
            assert_eq!(normal(arguments).as_deref(), Ok(expected), "{arguments}");
        }
    }

    #[test]
    fn mistakes_are_named_with_what_to_write() {
        for (arguments, expected) in [
            (
                "",
                "no command given: write one of run, tear-down, version, endpoints\nRun `pgstream --help`",
            ),
            ("rnu", "the command \"rnu\" is not known: did you mean run?"),
            ("teardown", "did you mean tear-down?"),
            (
                "frobnicate",
                "the command \"frobnicate\" is not known: write one of run, tear-down, version, endpoints",
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
            (
                "endpoints",
                "no command given: write one of list, move\nRun `pgstream endpoints --help`",
            ),
            (
                "endpoints lsit",
                "the command endpoints \"lsit\" is not known: did you mean endpoints list?\nRun `pgstream endpoints --help`",
            ),
            ("endpoints frobnicate", "is not known: write one of list, move"),
            (
                "endpoints move http://a",
                "the argument <to> is missing\nRun `pgstream endpoints move --help`",
            ),
            ("endpoints move a b http://u:secret@c", "a URL is one too many"),
            ("endpoints move a b c", "the argument \"c\" is one too many"),
            (
                "endpoints list --json",
                "the option --json is not one of the command endpoints list",
            ),
        ] {
            let error = normal(arguments).expect_err(arguments);
            assert!(error.contains(expected), "{arguments}: {error}");
        }
    }

    /// Arguments are cut into tokens before the command is known.
    #[test]
    fn an_option_takes_a_value_in_every_command_or_in_none() {
        let program = <crate::cli::Arguments as argh::ArgsInfo>::get_args_info();
        let flags = all_flags(&program);
        for one in &flags {
            for other in flags.iter().filter(|other| other.long == one.long) {
                let is_switch = |flag: &FlagInfo| flag.kind == FlagInfoKind::Switch;
                assert_eq!(is_switch(one), is_switch(other), "{}", one.long);
                assert_eq!(one.short, other.short, "{}", one.long);
            }
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
            "endpoints postgres://u:secret@h",
            "endpoints list postgres://u:secret@h",
            "endpoints move http://a http://b http://u:secret@h",
        ] {
            let error = normal(arguments).expect_err(arguments);
            assert!(!error.contains("secret"), "{arguments}: {error}");
        }
    }
}
