//! Simple queries on the replication connection.

use bytes::Bytes;
use pgstream_proto::{BackendMessage, FrontendMessage};

use super::connection::Connection;
use super::{ReplicationError, ServerError};

/// The first row of an answer, as text.
#[derive(Debug)]
pub(super) struct Row {
    query: &'static str,
    columns: Vec<Option<Bytes>>,
}

impl Connection {
    /// Runs one query and gives its first row, if it has any. `what` names in an error what was refused.
    pub(super) async fn query_row(
        &mut self,
        query: &'static str,
        parameters: &[(&str, &str)],
        what: &str,
    ) -> Result<Option<Row>, ReplicationError> {
        let mut sql = query.to_owned();
        for (name, value) in parameters {
            sql = sql.replace(name, &literal(value));
        }
        self.command_row(query, &sql, what).await
    }

    /// The same for a command that is complete as it is. `query` is how it is called in an error.
    pub(super) async fn command_row(
        &mut self,
        query: &'static str,
        command: &str,
        what: &str,
    ) -> Result<Option<Row>, ReplicationError> {
        self.send(FrontendMessage::Query(command.to_owned())).await?;
        let mut first = None;
        let mut refusal = None;
        loop {
            match self.receive().await? {
                BackendMessage::DataRow(row) if first.is_none() => first = Some(row.columns),
                BackendMessage::DataRow(_)
                | BackendMessage::RowDescription(_)
                | BackendMessage::CommandComplete(_)
                | BackendMessage::EmptyQueryResponse
                | BackendMessage::NoticeResponse(_)
                | BackendMessage::NotificationResponse(_)
                | BackendMessage::ParameterStatus(_) => {}
                BackendMessage::ErrorResponse(fields) => refusal = Some(ServerError::from(&fields)),
                BackendMessage::ReadyForQuery(_) => break,
                other => {
                    return Err(ReplicationError::unexpected(
                        &other,
                        what,
                        "the answer to a query",
                    ));
                }
            }
        }
        match refusal {
            Some(error) => Err(ReplicationError::Server {
                what: what.to_owned(),
                error: Box::new(error),
            }),
            None => Ok(first.map(|columns| Row { query, columns })),
        }
    }
}

impl Connection {
    /// Runs a query whose answer has a row.
    pub(super) async fn query_only_row(
        &mut self,
        query: &'static str,
        what: &str,
    ) -> Result<Row, ReplicationError> {
        let row = self.query_row(query, &[], what).await?;
        row.ok_or_else(|| ReplicationError::OddAnswer {
            query,
            what: "it has no row".to_owned(),
        })
    }
}

impl Row {
    /// The text of a column; `None` is NULL.
    pub(super) fn text(&self, index: usize) -> Result<Option<&str>, ReplicationError> {
        let column = self
            .columns
            .get(index)
            .ok_or_else(|| self.odd(format!("it has no column {index}")))?;
        column
            .as_ref()
            .map(|bytes| std::str::from_utf8(bytes))
            .transpose()
            .map_err(|_| self.odd(format!("column {index} is not UTF-8")))
    }

    /// The value of a column that cannot be NULL.
    pub(super) fn parse<T: std::str::FromStr>(&self, index: usize) -> Result<T, ReplicationError> {
        let text = self
            .text(index)?
            .ok_or_else(|| self.odd(format!("column {index} is NULL")))?;
        text.parse()
            .map_err(|_| self.odd(format!("column {index} is {text:?}")))
    }

    fn odd(&self, what: String) -> ReplicationError {
        ReplicationError::OddAnswer {
            query: self.query,
            what,
        }
    }
}

/// A string literal of SQL, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn literals_cannot_be_left() {
        assert_eq!(literal("slot"), "'slot'");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\' or"), r" E'\\'' or'");
    }
}
