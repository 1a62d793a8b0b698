//! The options that say which dead letters are meant.

/// A command of the store with those options too. The struct gets `fn filter(&self) -> FilterTexts`.
macro_rules! letters_command {
    ($(#[$of_struct:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ident $(<$of:ident>)?,)* }) => {
        $crate::cli::on_store::store_command! {
            $(#[$of_struct])*
            $name {
                /// those of this endpoint
                #[argh(option, arg_name = "url")]
                endpoint: Option<String>,
                /// those of this table, or of its partitions: name or schema.name
                #[argh(option, arg_name = "table")]
                table: Option<String>,
                /// those that died then or later: a time (RFC 3339), or how long ago, such as 2h
                #[argh(option, arg_name = "time")]
                since: Option<String>,
                /// those that died before: a time (RFC 3339), or how long ago
                #[argh(option, arg_name = "time")]
                until: Option<String>,
                /// the one of this number, or those of this webhook-id
                #[argh(option, arg_name = "id")]
                id: Option<String>,
                /// those that died for this reason, such as refused, retries or retention
                #[argh(option, arg_name = "reason")]
                reason: Option<String>,
                $($(#[$of_field])* $field: $type$(<$of>)?,)*
            }
        }

        impl $name {
            fn filter(&self) -> $crate::operator::letters::FilterTexts {
                $crate::operator::letters::FilterTexts {
                    endpoint: self.endpoint.clone(),
                    table: self.table.clone(),
                    since: self.since.clone(),
                    until: self.until.clone(),
                    id: self.id.clone(),
                    reason: self.reason.clone(),
                }
            }
        }
    };
}

pub(super) use letters_command;
