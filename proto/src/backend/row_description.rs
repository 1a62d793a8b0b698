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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes() {
        let frame = b"T\0\0\0\x32\0\x02\
            id\0\0\0\x40\x03\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0\
            name\0\0\0\x40\x03\0\x02\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
        let id = FieldDescription {
            name: "id".into(),
            table_oid: 16387,
            column_attribute: 1,
            type_oid: 23,
            type_size: 4,
            type_modifier: -1,
            format: Format::Text,
        };
        let name = FieldDescription {
            name: "name".into(),
            column_attribute: 2,
            type_oid: 25,
            type_size: -1,
            ..id.clone()
        };
        let expected = BackendMessage::RowDescription(RowDescription {
            fields: vec![id, name],
        });
        assert_eq!(decode_one(frame).unwrap(), expected);
    }
}
