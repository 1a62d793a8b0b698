//! What has to hold before anything is changed: pure checks of what the server says.

use super::Precondition;
use super::synchronous::items;
use crate::store::server::Server;
use crate::store::slots::{self, PLUGIN, Slot};

/// The oldest major version that pgstream works with.
const MIN_VERSION: i32 = 14;

/// What is still to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The slot does not exist yet.
    pub(super) slot: bool,
    /// It is to be said what streaming needs, whether or not the slot exists.
    pub(super) stream: bool,
    /// Migrations of the source are pending.
    pub(super) objects: bool,
}

/// Everything that the source's server lacks, the cheapest remedy last: what needs a restart comes first.
pub(super) fn of_source(server: &Server, wanted: Wanted) -> Vec<Precondition> {
    let mut lacking = Vec::new();
    if server.version_num / 10_000 < MIN_VERSION {
        lacking.push(Precondition::Version {
            version: server.version.clone(),
        });
    }
    if server.in_recovery {
        lacking.push(Precondition::Standby);
    }
    lacking.extend(check_encoding(server).err());
    if server.wal_level != "logical" {
        lacking.push(Precondition::WalLevel {
            current: server.wal_level.clone(),
        });
    }
    if wanted.slot {
        lacking.extend(for_the_slot(server));
    }
    if wanted.slot || wanted.stream {
        lacking.extend(check_replication(server).err());
    }
    if wanted.objects {
        lacking.extend(check_create(server).err());
    }
    lacking.extend(check_allowed(server).err());
    lacking
}

/// What a slot that is still to be made needs of the server.
fn for_the_slot(server: &Server) -> impl Iterator<Item = Precondition> {
    // The stream needs one for itself, unless it is what runs already.
    let no_walsender =
        (server.wal_senders >= server.max_wal_senders).then_some(Precondition::NoFreeWalSender {
            max: server.max_wal_senders,
            used: server.wal_senders,
        });
    let no_slot = (server.slots >= server.max_replication_slots).then_some(Precondition::NoFreeSlot {
        max: server.max_replication_slots,
        used: server.slots,
    });
    [no_walsender, no_slot].into_iter().flatten()
}

fn check_replication(server: &Server) -> Result<(), Precondition> {
    if server.may_replicate {
        return Ok(());
    }
    Err(Precondition::Replication {
        role: server.role.clone(),
    })
}

/// Everything that the store's server lacks, when something is to be made there.
pub(super) fn of_store(server: &Server) -> Vec<Precondition> {
    let standby = server.in_recovery.then_some(Precondition::Standby);
    standby.into_iter().chain(check_create(server).err()).collect()
}

/// Checks that the text of the database is UTF-8. A database without an encoding may hold anything: what is not UTF-8 of it
/// becomes a dead letter, one by one.
pub(super) fn check_encoding(server: &Server) -> Result<(), Precondition> {
    if matches!(server.encoding.as_str(), "UTF8" | "SQL_ASCII") {
        return Ok(());
    }
    Err(Precondition::Encoding {
        encoding: server.encoding.clone(),
        database: server.database.clone(),
    })
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
pub(super) fn check_allowed(server: &Server) -> Result<(), Precondition> {
    let Some(current) = &server.output_plugin_libraries else {
        return Ok(());
    };
    let allowed: Vec<String> = items(current);
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

/// Checks that stand-bys are kept in step with the slot, if that is wanted; with one that exists, they have to be already.
pub(super) fn check_failover(name: &str, slot: Option<&Slot>, server: &Server) -> Result<(), Precondition> {
    if server.version_num < slots::FAILOVER_SINCE {
        return Err(Precondition::NoFailoverSlots {
            version: server.version.clone(),
        });
    }
    match slot {
        Some(slot) if !slot.failover => Err(Precondition::NotFailover {
            slot: name.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Checks that our slot can still be read.
pub(super) fn check_slot_usable(name: &str, slot: &Slot) -> Result<(), Precondition> {
    if slot.wal_status.as_deref() == Some("lost") {
        return Err(Precondition::SlotLost {
            slot: name.to_owned(),
            reason: slot.invalidation_reason.clone(),
        });
    }
    if slot.synced {
        return Err(Precondition::SlotSynchronised {
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
        stream: true,
        objects: true,
    };

    /// The first that is lacking.
    fn check_source(server: &Server, wanted: Wanted) -> Result<(), Precondition> {
        of_source(server, wanted).into_iter().next().map_or(Ok(()), Err)
    }

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
            encoding: "UTF8".to_owned(),
            max_slot_wal_keep_size: None,
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
            stream: false,
            objects: false,
        };
        check_source(&full, nothing).unwrap();

        let nothing_but_streaming = Wanted {
            stream: true,
            ..nothing
        };
        let lacking = of_source(&full, nothing_but_streaming);
        let codes: Vec<_> = lacking.iter().map(Precondition::code).collect();
        assert_eq!(codes, ["no_replication_privilege"]);
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
        check_slot_usable("s", &slot("extended")).unwrap();
        let error = check_slot_usable("s", &slot("lost")).unwrap_err();
        assert!(error.to_string().contains("wal_status is lost"), "{error}");
        let invalidated = Slot {
            invalidation_reason: Some("idle_timeout".to_owned()),
            ..slot("lost")
        };
        let error = check_slot_usable("s", &invalidated).unwrap_err();
        assert!(
            error.to_string().contains("invalidation_reason is idle_timeout"),
            "{error}"
        );
        let synced = Slot {
            synced: true,
            ..slot("reserved")
        };
        let error = check_slot_usable("s", &synced).unwrap_err();
        assert!(
            error.to_string().contains("give the URL of the primary"),
            "{error}"
        );
    }

    #[test]
    fn slots_that_stand_bys_are_kept_in_step_with_need_a_newer_server() {
        let (old, new) = (server(|_| ()), server(|it| it.version_num = 170_000));
        let failover = Slot {
            failover: true,
            ..slot("reserved")
        };
        assert!(matches!(
            check_failover("s", None, &old),
            Err(Precondition::NoFailoverSlots { .. })
        ));
        assert_eq!(check_failover("s", None, &new), Ok(()));
        assert_eq!(check_failover("s", Some(&failover), &new), Ok(()));
        assert!(matches!(
            check_failover("s", Some(&slot("reserved")), &new),
            Err(Precondition::NotFailover { .. })
        ));
    }

    #[test]
    fn everything_that_is_lacking_is_found_at_once() {
        let server = server(|it| {
            it.wal_level = "replica".to_owned();
            it.encoding = "LATIN1".to_owned();
            it.slots = 2;
            it.may_replicate = false;
            it.may_create = false;
            it.output_plugin_libraries = Some("pgoutput".to_owned());
        });
        let codes: Vec<&str> = of_source(&server, EVERYTHING)
            .iter()
            .map(Precondition::code)
            .collect();
        assert_eq!(
            codes,
            [
                "encoding",
                "wal_level",
                "no_free_slot",
                "no_replication_privilege",
                "no_create_privilege",
                "plugin_not_allowed"
            ]
        );
    }

    fn slot(wal_status: &str) -> Slot {
        Slot {
            plugin: Some(PLUGIN.to_owned()),
            database: Some("app".to_owned()),
            active_pid: None,
            wal_status: Some(wal_status.to_owned()),
            confirmed: None,
            invalidation_reason: None,
            failover: false,
            synced: false,
        }
    }
}
