//! DataRow: one row of a result.

use crate::reader::Reader;
use crate::{DecodeError, limits};
use bytes::Bytes;
use std::fmt;

/// The length that stands for NULL.
const NULL: i32 = -1;

/// One row of a result.
///
/// `Debug` shows the number of columns, not their values.
#[derive(Clone, PartialEq, Eq)]
pub struct DataRow {
    /// The values in the order of RowDescription, slices of the read buffer; `None` is NULL.
    pub columns: Vec<Option<Bytes>>,
}

impl DataRow {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        let count = body.count16("columns", limits::MAX_FIELDS)?;
        let columns = (0..count).map(|_| value(body)).collect::<Result<_, _>>()?;
        Ok(DataRow { columns })
    }

    /// The value of the column with this index, counted from 0; `None` when it is NULL or there is no such column.
    pub fn get(&self, index: usize) -> Option<&Bytes> {
        self.columns.get(index)?.as_ref()
    }
}

fn value(body: &mut Reader) -> Result<Option<Bytes>, DecodeError> {
    match body.i32("length")? {
        NULL => Ok(None),
        length => {
            let count = usize::try_from(length).map_err(|_| body.invalid("length", length))?;
            body.bytes("value", count).map(Some)
        }
    }
}

impl fmt::Debug for DataRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataRow({} columns)", self.columns.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes() {
        let frame = b"D\0\0\0\x1d\0\x04\0\0\0\x011\xff\xff\xff\xff\0\0\0\x05gr\xc3\xbcn\0\0\0\x012";
        let Ok(BackendMessage::DataRow(row)) = decode_one(frame) else {
            panic!("not a DataRow")
        };
        assert_eq!(row.columns.len(), 4);
        assert_eq!(row.get(0).unwrap(), "1");
        assert_eq!(row.get(1), None);
        assert_eq!(row.get(2).unwrap(), "grün");
        assert_eq!(row.get(3).unwrap(), "2");
        assert_eq!(row.get(4), None);
        assert_eq!(format!("{row:?}"), "DataRow(4 columns)");
    }
}
