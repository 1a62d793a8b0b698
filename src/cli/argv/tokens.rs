//! Cuts arguments into words and options with their values.

use std::ffi::OsString;

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

use super::error::UsageError;

/// Other names for options.
const OPTION_ALIASES: [(&str, &str); 2] = [("--postgres-url", "--pgurl"), ("-h", HELP)];

pub(super) const HELP: &str = "--help";
pub(super) const VERSION_OPTION: &str = "--version";
const VERSION: FlagInfo = FlagInfo {
    kind: FlagInfoKind::Switch,
    optionality: Optionality::Optional,
    long: VERSION_OPTION,
    short: Some('V'),
    description: "print the version",
    hidden: false,
};

/// One argument, or an option together with its value.
pub(super) enum Token {
    Word(String),
    Option(Given),
}

/// An option as it was given.
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) known: bool,
}

/// Cuts the arguments into words and options. Whether an option takes the next argument as its value is the same
/// in every command that has it, so that the command need not be known yet.
pub(super) fn tokens(
    arguments: impl IntoIterator<Item = OsString>,
    program: &CommandInfoWithArgs,
) -> Result<Vec<Token>, UsageError> {
    let flags = all_flags(program);
    let mut arguments = arguments.into_iter().map(text);
    let mut tokens = Vec::new();
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        if !argument.starts_with('-') || argument == "-" {
            tokens.push(Token::Word(argument));
            continue;
        }
        let (name, inline) = split_option(&argument);
        let given = match flags.iter().find(|flag| has_name(flag, &name)) {
            Some(flag) => {
                let next = || arguments.next().transpose();
                Given {
                    name: flag.long.to_owned(),
                    value: value(flag, inline, next, &flags)?,
                    known: true,
                }
            }
            None => Given {
                name,
                value: None,
                known: false,
            },
        };
        tokens.push(Token::Option(given));
    }
    Ok(tokens)
}

/// The value of an option: what was written behind its `=`, or the next argument.
fn value(
    flag: &FlagInfo,
    inline: Option<String>,
    next: impl FnOnce() -> Result<Option<String>, UsageError>,
    flags: &[&FlagInfo],
) -> Result<Option<String>, UsageError> {
    let name = flag.long;
    match (&flag.kind, inline) {
        (FlagInfoKind::Switch, None) => Ok(None),
        (FlagInfoKind::Switch, Some(_)) => Err(UsageError::new(format!(
            "the option {name} takes no value: write {name} alone"
        ))),
        (FlagInfoKind::Option { .. }, Some(value)) => Ok(Some(value)),
        (FlagInfoKind::Option { arg_name }, None) => match next()? {
            Some(value) if !flags.iter().any(|flag| has_name(flag, &value)) => Ok(Some(value)),
            _ => Err(UsageError::new(format!(
                "the option {name} has no value: write {name} <{arg_name}>"
            ))),
        },
    }
}

fn text(argument: OsString) -> Result<String, UsageError> {
    argument
        .into_string()
        .map_err(|_| UsageError::new("an argument is not valid UTF-8"))
}

/// Cuts `--name=value` and `-nvalue`, and resolves aliases.
fn split_option(argument: &str) -> (String, Option<String>) {
    let (name, value) = if argument.starts_with("--") {
        argument
            .split_once('=')
            .map_or((argument, None), |(name, value)| (name, Some(value)))
    } else {
        let end = argument
            .char_indices()
            .nth(2)
            .map_or(argument.len(), |(end, _)| end);
        let (name, rest) = argument.split_at(end);
        (
            name,
            (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest)),
        )
    };
    let alias = OPTION_ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, name)| name);
    (name.to_owned(), value.map(str::to_owned))
}

/// The program's options, those of its commands however deep, and `--version`, which argh does not know.
pub(super) fn all_flags(program: &CommandInfoWithArgs) -> Vec<&'static FlagInfo<'static>> {
    let mut flags = vec![&VERSION];
    let mut commands = vec![program];
    while let Some(command) = commands.pop() {
        flags.extend(command.flags);
        commands.extend(command.commands.iter().map(|command| &command.command));
    }
    flags
}

fn has_name(flag: &FlagInfo, name: &str) -> bool {
    let short = || name.strip_prefix('-').and_then(|name| name.parse().ok());
    flag.long == name || flag.short.is_some() && flag.short == short()
}
