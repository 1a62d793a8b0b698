//! One subscription, as it is stored and as users write it.

use std::fmt;

use thiserror::Error;
use url::Url;

/// The longest URL that can be subscribed, in bytes. Together with two names of [`MAX_NAME_BYTES`] it stays
/// below the 2,704 bytes that PostgreSQL allows a B-tree entry, which the primary key of
/// `pgstream.webhook_subscriptions` is.
pub const MAX_URL_BYTES: usize = 2_048;

/// The longest schema or table name, in bytes: PostgreSQL's `NAMEDATALEN` less the final zero. A longer one
/// could never match, because the server cuts its names to this length.
pub const MAX_NAME_BYTES: usize = 63;

/// The longest prefix of messages that can be subscribed, in bytes: with the longest URL it fits the primary key.
pub const MAX_PREFIX_BYTES: usize = 500;

/// A filter: the changes of these tables, of these types, go to this URL.
///
/// It is identified by `(url, schema, table)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscription {
    /// Where matching changes are sent: the text exactly as the user wrote it, never normalised.
    pub url: String,
    /// The schema whose tables are meant; empty means every schema.
    pub schema: String,
    /// The table that is meant; empty means every table.
    pub table: String,
    /// The types of change that are meant.
    pub event_types: EventTypes,
}

impl Subscription {
    /// A subscription of valid parts.
    ///
    /// # Errors
    /// [`SubscriptionError`] naming the first field that does not hold.
    pub fn new(
        url: impl Into<String>,
        schema: impl Into<String>,
        table: impl Into<String>,
        event_types: EventTypes,
    ) -> Result<Self, SubscriptionError> {
        let subscription = Self {
            url: url.into(),
            schema: schema.into(),
            table: table.into(),
            event_types,
        };
        validate_url(&subscription.url)?;
        let is_prefix = event_types == EventTypes::from(EventType::Message);
        let longest = if is_prefix {
            MAX_PREFIX_BYTES
        } else {
            MAX_NAME_BYTES
        };
        validate_name("schema", &subscription.schema, MAX_NAME_BYTES)?;
        validate_name("table", &subscription.table, longest)?;
        if !subscription.schema.is_empty() && event_types.contains(EventType::Message) {
            return Err(SubscriptionError::SchemaOfMessages);
        }
        Ok(subscription)
    }
}

/// The type of an event, as a subscription names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// `I`: a row was inserted.
    Insert,
    /// `U`: a row was updated.
    Update,
    /// `D`: a row was deleted.
    Delete,
    /// `T`: a table was truncated.
    Truncate,
    /// `M`: a logical message was emitted. Its prefix stands where a change has its table, and it has no schema.
    Message,
}

impl EventType {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 5] = [
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::Message,
    ];

    /// The letter of the type: that of wal2json's `action` too.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Insert => "I",
            Self::Update => "U",
            Self::Delete => "D",
            Self::Truncate => "T",
            Self::Message => "M",
        }
    }

    /// The type with this letter, if there is one. Letters are upper case.
    #[must_use]
    pub fn from_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.letter() == letter)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of [`EventType`]s that is never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTypes(u8);

impl EventTypes {
    /// The types of changes: all but [`EventType::Message`].
    pub const CHANGES: Self = Self(0b1111);

    /// The set of these letters. No letters at all means every type of change, as the user never subscribes to
    /// nothing; messages come to those only who ask for them. A letter given twice counts once.
    ///
    /// # Errors
    /// [`SubscriptionError::UnknownEventType`] for anything but `I`, `U`, `D`, `T` and `M`.
    pub fn from_letters<L: AsRef<str>>(
        letters: impl IntoIterator<Item = L>,
    ) -> Result<Self, SubscriptionError> {
        let mut bits = 0;
        for letter in letters {
            let letter = letter.as_ref();
            let event = EventType::from_letter(letter)
                .ok_or_else(|| SubscriptionError::UnknownEventType(shortened(letter)))?;
            bits |= event.bit();
        }
        Ok(if bits == 0 { Self::CHANGES } else { Self(bits) })
    }

    /// The letters of the set, in the order I, U, D, T, M.
    #[must_use]
    pub fn letters(self) -> Vec<&'static str> {
        EventType::ALL
            .into_iter()
            .filter(|event| self.contains(*event))
            .map(EventType::letter)
            .collect()
    }

    /// Whether the set has this type.
    #[must_use]
    pub const fn contains(self, event: EventType) -> bool {
        self.0 & event.bit() != 0
    }
}

impl From<EventType> for EventTypes {
    fn from(event: EventType) -> Self {
        Self(event.bit())
    }
}

impl fmt::Debug for EventTypes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.letters()).finish()
    }
}

/// Why a subscription is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubscriptionError {
    /// The URL is the empty text.
    #[error("url is empty: give the http or https URL that shall receive the events")]
    UrlEmpty,
    /// The URL has more than [`MAX_URL_BYTES`].
    #[error("url has {0} bytes, at most {MAX_URL_BYTES} are allowed")]
    UrlTooLong(usize),
    /// The URL holds white space or a control character, which has to be percent-encoded.
    #[error("url holds white space or a control character: percent-encode it")]
    UrlSpace,
    /// The URL does not begin with `http://` or `https://`.
    #[error("url has to begin with http:// or https://")]
    UrlScheme,
    /// The URL has a fragment, which no HTTP request can carry.
    #[error("url has a fragment (#...), which is never sent to a server: leave it out")]
    UrlFragment,
    /// The URL cannot be parsed.
    #[error("url is not valid: {0}")]
    UrlSyntax(#[source] url::ParseError),
    /// The URL's port is 0, to which nothing can connect.
    #[error("url has port 0, to which nothing can connect")]
    UrlPort,
    /// A name has more than [`MAX_NAME_BYTES`].
    #[error(
        "{field} has {length} bytes, names in PostgreSQL have at most {MAX_NAME_BYTES}; a prefix of messages may have \
         {MAX_PREFIX_BYTES} where event_types is M alone"
    )]
    NameTooLong {
        /// `schema` or `table`.
        field: &'static str,
        /// The bytes it has.
        length: usize,
    },
    /// A name holds a zero character, which PostgreSQL cannot store.
    #[error("{0} holds a zero character (\\u0000), which no name in PostgreSQL has")]
    NameZero(&'static str),
    /// An event type is none of the letters.
    #[error(
        "event_types holds {0:?}, but knows only \"I\" (insert), \"U\" (update), \"D\" (delete), \"T\" (truncate) and \
         \"M\" (logical message)"
    )]
    UnknownEventType(String),
    /// Messages are wanted of a schema, and they have none.
    #[error(
        "schema is given, but event_types holds \"M\", and logical messages have no schema: leave schema out (table is \
         their prefix), or subscribe to changes and messages apart"
    )]
    SchemaOfMessages,
}

impl SubscriptionError {
    /// The field at fault, by the name it has in a request: `url`, `schema`, `table` or `event_types`.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::UrlEmpty
            | Self::UrlTooLong(_)
            | Self::UrlSpace
            | Self::UrlScheme
            | Self::UrlFragment
            | Self::UrlSyntax(_)
            | Self::UrlPort => "url",
            Self::NameTooLong { field, .. } | Self::NameZero(field) => field,
            Self::SchemaOfMessages => "schema",
            Self::UnknownEventType(_) => "event_types",
        }
    }
}

/// Checks what the URL parser would quietly mend (it trims and drops white space, turns `\` into `/` and
/// adds missing slashes), because the text is kept, compared and used as it was written.
///
/// # Errors
/// [`SubscriptionError`] of the field `url`.
pub fn validate_url(text: &str) -> Result<(), SubscriptionError> {
    if text.is_empty() {
        return Err(SubscriptionError::UrlEmpty);
    }
    if text.len() > MAX_URL_BYTES {
        return Err(SubscriptionError::UrlTooLong(text.len()));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SubscriptionError::UrlSpace);
    }
    if !["http://", "https://"]
        .iter()
        .any(|scheme| starts_with_ignoring_case(text, scheme))
    {
        return Err(SubscriptionError::UrlScheme);
    }
    let url = Url::parse(text).map_err(SubscriptionError::UrlSyntax)?;
    if url.fragment().is_some() {
        return Err(SubscriptionError::UrlFragment);
    }
    // The parser takes the first path segment of `http:///path` for the host; a URL without one is refused.
    let after_scheme = &text[text.find("://").map_or(0, |at| at + 3)..];
    if !url.has_host() || after_scheme.starts_with(['/', '\\', '?']) {
        return Err(SubscriptionError::UrlSyntax(url::ParseError::EmptyHost));
    }
    if url.port() == Some(0) {
        return Err(SubscriptionError::UrlPort);
    }
    Ok(())
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn validate_name(field: &'static str, name: &str, longest: usize) -> Result<(), SubscriptionError> {
    if name.len() > longest {
        return Err(SubscriptionError::NameTooLong {
            field,
            length: name.len(),
        });
    }
    if name.contains('\0') {
        return Err(SubscriptionError::NameZero(field));
    }
    Ok(())
}

/// What the user wrote, bounded, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_accepted_or_refused() {
        let long = format!("http://h/{}", "a".repeat(MAX_URL_BYTES));
        let cases: &[(&str, Option<&str>)] = &[
            ("http://localhost:9910/webhook", None),
            ("HTTPS://Example.COM/A?b=c%20d", None),
            ("http://[::1]:80", None),
            ("http://user:password@host/", None),
            ("", Some("url is empty")),
            ("localhost:9910", Some("begin with http://")),
            ("ftp://host/", Some("begin with http://")),
            ("http:/host", Some("begin with http://")),
            ("javascript:alert(1)", Some("begin with http://")),
            ("http://", Some("empty host")),
            ("http:///path", Some("empty host")),
            ("http://?q", Some("empty host")),
            ("http://host:99999/", Some("invalid port")),
            ("http://host:0/", Some("port 0")),
            ("http://host/#part", Some("fragment")),
            ("http://host/#", Some("fragment")),
            (" http://host/", Some("white space")),
            ("http://host/\n", Some("white space")),
            ("http://ho st/", Some("white space")),
            (&long, Some("bytes, at most 2048")),
        ];
        for (url, refusal) in cases {
            match (Subscription::new(*url, "", "", EventTypes::CHANGES), refusal) {
                (Ok(subscription), None) => assert_eq!(subscription.url, *url, "kept as written"),
                (Err(error), Some(words)) => {
                    assert!(error.to_string().contains(words), "{url}: {error}");
                    assert_eq!(error.field(), "url", "{url}");
                }
                (result, _) => panic!("{url}: {result:?}"),
            }
        }
    }

    #[test]
    fn prefixes_of_messages_may_be_longer_than_names() {
        let prefix = |bytes: usize, types: &[&str]| {
            let types = EventTypes::from_letters(types).unwrap();
            Subscription::new("http://h", "", "p".repeat(bytes), types)
        };
        assert!(prefix(MAX_PREFIX_BYTES, &["M"]).is_ok());
        assert!(prefix(MAX_PREFIX_BYTES + 1, &["M"]).is_err());
        assert!(prefix(MAX_NAME_BYTES, &["M", "I"]).is_ok());
        let both = prefix(MAX_NAME_BYTES + 1, &["M", "I"]).unwrap_err();
        assert!(both.to_string().contains("event_types is M alone"), "{both}");
    }

    #[test]
    fn names_are_accepted_or_refused() {
        let longest = "é".repeat(MAX_NAME_BYTES / 2);
        for name in ["", "public", "Odd \"name\". with dots", &longest] {
            Subscription::new("http://h", name, name, EventTypes::CHANGES).unwrap();
        }
        for name in ["a".repeat(MAX_NAME_BYTES + 1), "a\0b".to_owned()] {
            let schema = Subscription::new("http://h", &*name, "", EventTypes::CHANGES).unwrap_err();
            assert_eq!(schema.field(), "schema");
            let table = Subscription::new("http://h", "", &*name, EventTypes::CHANGES).unwrap_err();
            assert_eq!(table.field(), "table");
        }
    }

    #[test]
    fn event_types_are_a_set_of_letters() {
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &["I", "U", "D", "T"]),
            (&["I"], &["I"]),
            (&["T", "I", "T"], &["I", "T"]),
            (&["D", "U", "I", "T"], &["I", "U", "D", "T"]),
            (&["M"], &["M"]),
            (&["M", "T", "I"], &["I", "T", "M"]),
        ];
        for (given, letters) in cases {
            let set = EventTypes::from_letters(*given).unwrap();
            assert_eq!(set.letters(), *letters);
            for event in EventType::ALL {
                assert_eq!(
                    set.contains(event),
                    letters.contains(&event.letter()),
                    "{given:?} {event:?}"
                );
            }
        }
        for wrong in ["i", "X", "", "INSERT"] {
            let error = EventTypes::from_letters(["I", wrong]).unwrap_err();
            assert_eq!(error, SubscriptionError::UnknownEventType(wrong.to_owned()));
            assert_eq!(error.field(), "event_types");
        }
    }
}
