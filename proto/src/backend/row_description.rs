//! RowDescription: the columns of the rows to come.

use super::Format;
use crate::reader::Reader;
use crate::{DecodeError, Text, limits};

/// The columns of the rows to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDescription {
    /// The columns in order.
    pub fields: Vec<FieldDescription>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDescription {
    /// The name of the column.
    pub name: Text,
    /// The OID of the table it comes from, 0 if none.
    pub table_oid: u32,
    /// Its attribute number in that table, 0 if none.
    pub column_attribute: i16,
    /// The OID of its type.
    pub type_oid: u32,
    /// The size of its type in bytes, negative when it varies (`pg_type.typlen`).
    pub type_size: i16,
    /// What the type was restricted to, a length say (`pg_attribute.atttypmod`).
    pub type_modifier: i32,
    /// How its values are written.
    pub format: Format,
}

impl RowDescription {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        let count = body.count16("fields", limits::MAX_FIELDS)?;
        let fields = (0..count)
            .map(|_| FieldDescription::decode(body))
            .collect::<Result<_, _>>()?;
        Ok(RowDescription { fields })
    }
}

impl FieldDescription {
    fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        Ok(FieldDescription {
            name: body.text("name")?,
            table_oid: body.u32("table_oid")?,
            column_attribute: body.i16("column_attribute")?,
            type_oid: body.u32("type_oid")?,
            type_size: body.i16("type_size")?,
            type_modifier: body.i32("type_modifier")?,
            format: Format::decode(body, "format")?,
        })
    }
}
