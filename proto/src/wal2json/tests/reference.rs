//! The same record read by serde_json into borrowed structs: what the parser is compared with in its tests and
//! its fuzz target, and measured against in its bench. They all include this file.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A record as derived code reads it.
#[derive(Deserialize)]
pub(crate) struct Reference<'a> {
    #[serde(borrow)]
    pub(crate) action: Text<'a>,
    pub(crate) xid: Option<u32>,
    #[serde(borrow)]
    pub(crate) timestamp: Option<Text<'a>>,
    pub(crate) origin: Option<u32>,
    #[serde(borrow)]
    pub(crate) lsn: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) nextlsn: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) schema: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) table: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) columns: Option<Vec<ReferenceColumn<'a>>>,
    #[serde(borrow)]
    pub(crate) identity: Option<Vec<ReferenceColumn<'a>>>,
    #[serde(borrow)]
    pub(crate) pk: Option<Vec<ReferenceKeyColumn<'a>>>,
    pub(crate) transactional: Option<bool>,
    #[serde(borrow)]
    pub(crate) prefix: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) content: Option<Text<'a>>,
}

/// A column with its value as it stands.
#[derive(Deserialize)]
pub(crate) struct ReferenceColumn<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow, rename = "type")]
    pub(crate) type_name: Text<'a>,
    #[serde(borrow)]
    pub(crate) value: &'a RawValue,
}

/// A column of the primary key.
#[derive(Deserialize)]
pub(crate) struct ReferenceKeyColumn<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow, rename = "type")]
    pub(crate) type_name: Text<'a>,
}

/// An unescaped string, borrowed where it can be, which serde does for `Cow` only directly in a struct.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);
