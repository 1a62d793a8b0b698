//! The statements of the story, and the webhooks each of them must cause.

use std::fmt;

use serde::Deserialize;

use super::DemoError;

/// One statement and what comes of it.
#[derive(Debug)]
pub(super) struct Scene {
    /// What to look at, in a few words.
    pub(super) caption: &'static str,
    /// The SQL.
    pub(super) statement: &'static str,
    /// The changes that arrive, in any order: rows are delivered in parallel.
    pub(super) causes: &'static [Change<'static>],
}

/// Which change a webhook tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Change<'a> {
    action: &'a str,
    schema: &'a str,
    table: &'a str,
}

const fn row(action: &'static str) -> Change<'static> {
    Change {
        action,
        schema: "public",
        table: "test",
    }
}

/// The story, along the tutorial's.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        caption: "A change of the schema is an event as well:",
        statement: "CREATE TABLE test(id SERIAL PRIMARY KEY, name TEXT);",
        causes: &[Change {
            action: "I",
            schema: "pgstream",
            table: "schema_log",
        }],
    },
    Scene {
        caption: "Every row is an event of its own, and different rows travel in parallel:",
        statement: "INSERT INTO test(name) VALUES('alice'),('bob'),('charlie');",
        causes: &[row("I"), row("I"), row("I")],
    },
    Scene {
        caption: "An update has the new row in \"columns\" and the old key in \"identity\":",
        statement: "UPDATE test SET name = 'alice updated' WHERE id = 1;",
        causes: &[row("U")],
    },
    Scene {
        caption: "A delete has the key of the row that is gone:",
        statement: "DELETE FROM test WHERE id = 2;",
        causes: &[row("D")],
    },
];

/// The webhooks of a scene that have not arrived yet.
#[derive(Debug)]
pub(super) struct Awaited(Vec<Change<'static>>);

impl Awaited {
    /// All webhooks of a scene.
    pub(super) fn of(scene: &Scene) -> Self {
        Self(scene.causes.to_vec())
    }

    /// Whether all have arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ticks off the webhook with this body.
    pub(super) fn arrived(&mut self, body: &[u8]) -> Result<(), DemoError> {
        let unexpected = |what: &dyn fmt::Display| DemoError::Unexpected(what.to_string());
        let payload: Payload = serde_json::from_slice(body).map_err(|error| unexpected(&error))?;
        let found = self.0.iter().position(|change| *change == payload.change);
        let position = found.ok_or_else(|| unexpected(&payload.change))?;
        self.0.remove(position);
        Ok(())
    }
}

/// What a webhook's body is looked at for.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(rename = "Data", borrow)]
    change: Change<'a>,
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            schema,
            table,
        } = self;
        write!(f, "{action} of {schema}.{table}")
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, change) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{change}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(action: &str, table: &str) -> Vec<u8> {
        let change =
            serde_json::json!({"action": action, "schema": "public", "table": table, "columns": null});
        serde_json::json!({ "Data": change }).to_string().into_bytes()
    }

    #[test]
    fn every_webhook_is_ticked_off_once() {
        let mut awaited = Awaited(vec![row("I"), row("D"), row("I")]);
        assert_eq!(
            awaited.to_string(),
            "I of public.test, D of public.test, I of public.test"
        );
        awaited.arrived(&body("I", "test")).unwrap();
        awaited.arrived(&body("I", "test")).unwrap();
        assert_eq!(awaited.to_string(), "D of public.test");
        for surprising in [
            body("I", "test"),
            body("D", "other"),
            b"{}".to_vec(),
            b"no JSON".to_vec(),
        ] {
            let error = awaited.arrived(&surprising).unwrap_err();
            assert!(matches!(error, DemoError::Unexpected(_)), "{error}");
        }
        awaited.arrived(&body("D", "test")).unwrap();
        assert!(awaited.is_empty());
    }
}
