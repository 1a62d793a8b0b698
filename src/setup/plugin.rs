//! The output plugin: why a server does not let it be used, and having it do so.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::precondition::allow_statement;
use super::preconditions;
use super::{Precondition, SetupError};
use crate::connect::sqlstate::INSUFFICIENT_PRIVILEGE;
use crate::store::{PgPool, StoreError, server};

/// SQLSTATE `undefined_file`: there is no such library.
const UNDEFINED_FILE: &str = "58P01";
/// The list of the output plugins that may be used, on servers that have one.
const LIST: &str = "output_plugin_libraries";
/// How long a changed list may take until sessions see it.
const RELOAD: Duration = Duration::from_secs(10);
/// How often it is looked whether they do.
const POLL: Duration = Duration::from_millis(50);

/// What a refused trial of the output plugin means.
pub(super) fn refusal(error: StoreError, major: i32) -> SetupError {
    let message = error.message().unwrap_or_default().to_owned();
    let hint = error.hint().unwrap_or_default();
    match error.sqlstate() {
        Some(UNDEFINED_FILE) => Precondition::PluginMissing { message, major }.into(),
        Some(code) if is_not_allowed(code, &message, hint) => {
            Precondition::PluginListHidden { message }.into()
        }
        Some(_) => Precondition::PluginRefused {
            hint: match hint {
                "" => "see the server's log".to_owned(),
                hint => hint.to_owned(),
            },
            message,
        }
        .into(),
        None => error.into(),
    }
}

/// Whether this is how a server says that the plugin is not on its list.
#[must_use]
pub fn is_not_allowed(sqlstate: &str, message: &str, hint: &str) -> bool {
    sqlstate == INSUFFICIENT_PRIVILEGE && (message.contains(LIST) || hint.contains(LIST))
}

/// What keeps the plugin from being used according to the server's list, which it has refused with this message.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn not_allowed(source: &PgPool, message: String) -> Result<Precondition, StoreError> {
    let server = server::describe(source).await?;
    // Seen by a role that may not, it is not there.
    Ok(preconditions::check_allowed(&server)
        .err()
        .unwrap_or(Precondition::PluginListHidden { message }))
}

/// Puts the output plugin on the server's list of those that may be used, if it is not there, and waits until that holds.
///
/// # Errors
/// [`SetupError::Precondition`]: the server has no list, or the role may not change it. Nothing has been changed then.
pub(super) async fn allow_plugin(
    source: &PgPool,
    notice: &mut (dyn FnMut(&str) + Send),
) -> Result<(), SetupError> {
    let described = server::describe(source).await?;
    if described.output_plugin_libraries.is_none() {
        return hidden_or_unknown(source, described.version).await;
    }
    let Err(Precondition::PluginNotAllowed { remedy, .. }) = preconditions::check_allowed(&described) else {
        return Ok(());
    };
    let statement = allow_statement(&remedy);
    server::alter_system(source, &statement)
        .await
        .map_err(|error| match error.sqlstate() {
            Some(INSUFFICIENT_PRIVILEGE) => Precondition::PluginListForbidden {
                role: described.role,
                statement: statement.clone(),
            }
            .into(),
            _ => SetupError::from(error),
        })?;
    let deadline = Instant::now() + RELOAD;
    while let Err(lacking) = preconditions::check_allowed(&server::describe(source).await?) {
        if Instant::now() >= deadline {
            return Err(lacking.into());
        }
        sleep(POLL).await;
    }
    notice(&format!("ran {statement}, and the server has read it"));
    Ok(())
}

/// A role may not see the list, or there is none: a trial tells.
async fn hidden_or_unknown(source: &PgPool, version: String) -> Result<(), SetupError> {
    match server::knows_setting(source, LIST).await? {
        false => Err(Precondition::NoPluginList { version }.into()),
        true => Err(Precondition::PluginListHidden {
            message: format!("{LIST} can be seen by superusers and members of pg_read_all_settings"),
        }
        .into()),
    }
}
