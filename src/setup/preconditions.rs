//! What has to hold before anything is changed: pure checks of what the server says.

use super::Precondition;
use crate::store::server::Server;
use crate::store::slots::{PLUGIN, Slot};

/// The oldest major version that pgstream works with.
const MIN_VERSION: i32 = 14;

/// What is still to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The slot does not exist yet.
    pub(super) slot: bool,
    /// Migrations of the source are pending.
    pub(super) objects: bool,
}

/// Checks the source's server, the cheapest remedy last: what needs a restart comes first.
pub(super) fn check_source(server: &Server, wanted: Wanted) -> Result<(), Precondition> {
    if server.version_num / 10_000 < MIN_VERSION {
        return Err(Precondition::Version {
            version: server.version.clone(),
        });
    }
    if server.in_recovery {
        return Err(Precondition::Standby);
    }
    if server.wal_level != "logical" {
        return Err(Precondition::WalLevel {
            current: server.wal_level.clone(),
        });
    }
    // The stream needs one for itself, unless it is what runs already.
    if wanted.slot && server.wal_senders >= server.max_wal_senders {
        return Err(Precondition::NoFreeWalSender {
            max: server.max_wal_senders,
            used: server.wal_senders,
        });
    }
    if wanted.slot && server.slots >= server.max_replication_slots {
        return Err(Precondition::NoFreeSlot {
            max: server.max_replication_slots,
            used: server.slots,
        });
    }
    if wanted.slot && !server.may_replicate {
        return Err(Precondition::Replication {
            role: server.role.clone(),
        });
    }
    if wanted.objects {
        check_create(server)?;
    }
    check_allowed(server)
}

/// Checks the store's server, when something is to be made there.
pub(super) fn check_store(server: &Server) -> Result<(), Precondition> {
    if server.in_recovery {
        return Err(Precondition::Standby);
    }
    check_create(server)
}

fn check_create(server: &Server) -> Result<(), Precondition> {
    if server.may_create {
        return Ok(());
    }
    Err(Precondition::Create {
        role: server.role.clone(),
        database: server.database.clone(),
    })
}

/// Checks the list of output plugins, where the server has one.
fn check_allowed(server: &Server) -> Result<(), Precondition> {
    let Some(current) = &server.output_plugin_libraries else {
        return Ok(());
    };
    let allowed: Vec<String> = list_items(current);
    if allowed.iter().any(|library| library == PLUGIN) {
        return Ok(());
    }
    let remedy: Vec<String> = allowed
        .iter()
        .map(String::as_str)
        .chain([PLUGIN])
        .map(list_item)
        .collect();
    Err(Precondition::PluginNotAllowed {
        current: current.clone(),
        remedy: remedy.join(", "),
    })
}

/// The items of a list setting as `SHOW` prints it: separated by commas, an odd one in double quotes.
fn list_items(list: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut quoted = false;
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        let item = items
            .last_mut()
            .expect("the list of items begins with one and only grows");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                item.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(String::new()),
            c if c.is_whitespace() && !quoted => {}
            c => item.push(c),
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

/// One item as `ALTER SYSTEM SET ... =` takes it: each for itself, in quotes when it is no plain name.
fn list_item(item: &str) -> String {
    let plain = item.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
        && !item.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        item.to_owned()
    } else {
        format!("'{}'", item.replace('\'', "''"))
    }
}

/// Checks that an existing slot is ours.
pub(super) fn check_slot(name: &str, slot: &Slot, database: &str) -> Result<(), Precondition> {
    let conflict = |description| {
        Err(Precondition::SlotConflict {
            slot: name.to_owned(),
            description,
        })
    };
    match (&slot.plugin, &slot.database) {
        (Some(plugin), _) if plugin != PLUGIN => conflict(format!("one of the output plugin {plugin}")),
        (Some(_), Some(other)) if other != database => conflict(format!("one of database {other}")),
        (Some(_), Some(_)) => Ok(()),
        _ => conflict("a physical slot".to_owned()),
    }
}

/// Checks that our slot can still be read.
pub(super) fn check_slot_usable(name: &str, slot: &Slot) -> Result<(), Precondition> {
    if slot.wal_status.as_deref() == Some("lost") {
        return Err(Precondition::SlotLost {
            slot: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Wanted = Wanted {
        slot: true,
        objects: true,
    };

    fn server(change: impl FnOnce(&mut Server)) -> Server {
        let mut server = Server {
            version: "14.0".to_owned(),
            version_num: 140_000,
            in_recovery: false,
            wal_level: "logical".to_owned(),
            max_replication_slots: 2,
            slots: 1,
            max_wal_senders: 2,
            wal_senders: 1,
            output_plugin_libraries: None,
            database: "app".to_owned(),
            role: "role".to_owned(),
            may_replicate: true,
            may_create: true,
        };
        change(&mut server);
        server
    }

    #[test]
    fn a_server_that_has_everything_passes() {
        check_source(&server(|_| ()), EVERYTHING).unwrap();
    }

    #[test]
    fn what_the_integration_tests_have_no_server_for() {
        let cases: [(Server, &str); 3] = [
            (
                server(|it| {
                    it.version = "13.14".to_owned();
                    it.version_num = 130_014;
                }),
                "PostgreSQL 13.14 is too old",
            ),
            (server(|it| it.in_recovery = true), "URL of the primary"),
            (server(|it| it.wal_senders = 2), "SET max_wal_senders = 3"),
        ];
        for (server, words) in cases {
            let error = check_source(&server, EVERYTHING).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_there_already_needs_no_room_and_no_rights() {
        let full = server(|it| {
            it.slots = 2;
            it.wal_senders = 2;
            it.may_replicate = false;
            it.may_create = false;
        });
        let nothing = Wanted {
            slot: false,
            objects: false,
        };
        check_source(&full, nothing).unwrap();
    }

    #[test]
    fn the_remedy_for_the_list_of_plugins_keeps_what_is_in_it() {
        for (current, remedy) in [
            (
                "pgoutput, test_decoding",
                Some("pgoutput, test_decoding, wal2json"),
            ),
            ("", Some("wal2json")),
            (r#""Odd, one", "a""b""#, Some(r#"'Odd, one', 'a"b', wal2json"#)),
            ("it's", Some("'it''s', wal2json")),
            ("pgoutput,wal2json", None),
            (r#"pgoutput, "wal2json""#, None),
            // One name in quotes is one wrong name.
            (r#""pgoutput, wal2json""#, Some("'pgoutput, wal2json', wal2json")),
        ] {
            let server = server(|it| it.output_plugin_libraries = Some(current.to_owned()));
            match (check_source(&server, EVERYTHING), remedy) {
                (Ok(()), None) => {}
                (Err(Precondition::PluginNotAllowed { remedy: found, .. }), Some(remedy)) => {
                    assert_eq!(found, remedy, "{current}");
                }
                (outcome, _) => panic!("{current}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn a_slot_that_lost_its_wal_is_not_used_again() {
        let slot = |wal_status: &str| Slot {
            plugin: Some(PLUGIN.to_owned()),
            database: Some("app".to_owned()),
            active_pid: None,
            wal_status: Some(wal_status.to_owned()),
            confirmed: None,
        };
        check_slot_usable("s", &slot("extended")).unwrap();
        assert!(check_slot_usable("s", &slot("lost")).is_err());
    }
}
