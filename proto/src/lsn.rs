//! Positions in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A log sequence number: a byte position in the write-ahead log of one cluster and timeline.
///
/// A newtype without arithmetic, because adding lengths to positions is how changes get lost: what may be
/// confirmed is a position that the server printed, never one that we computed.
///
/// Text form: two upper-case hexadecimal halves, `16/B374D848`.
/// Source: <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// `0/0`, which PostgreSQL uses for "no position".
    pub const ZERO: Lsn = Lsn(0);

    /// The position at this byte offset.
    pub const fn new(position: u64) -> Self {
        Lsn(position)
    }

    /// The byte offset of this position.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// How many bytes of log lie between `earlier` and this position; 0 when `earlier` is not earlier.
    pub const fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Parses the text form `X/X`, one to eight hexadecimal digits of either case on each side.
    ///
    /// # Errors
    ///
    /// [`ParseLsnError`] for anything else, white space and signs included.
    pub fn parse(text: &[u8]) -> Result<Self, ParseLsnError> {
        let slash = text.iter().position(|&byte| byte == b'/').ok_or(ParseLsnError)?;
        let high = parse_half(&text[..slash])?;
        let low = parse_half(&text[slash + 1..])?;
        Ok(Lsn(u64::from(high) << 32 | u64::from(low)))
    }
}

fn parse_half(digits: &[u8]) -> Result<u32, ParseLsnError> {
    if !(1..=8).contains(&digits.len()) {
        return Err(ParseLsnError);
    }
    digits.iter().try_fold(0, |value, &digit| {
        let digit = char::from(digit).to_digit(16).ok_or(ParseLsnError)?;
        Ok(value << 4 | digit)
    })
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Lsn::parse(text.as_bytes())
    }
}

/// The text is not a log sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an LSN: expected two hexadecimal numbers of one to eight digits with a slash between, as in 16/B374D848"
)]
pub struct ParseLsnError;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_and_parses_the_text_form() {
        for (position, text) in [
            (0, "0/0"),
            (0x16_B374_D848, "16/B374D848"),
            (0x15A_1038, "0/15A1038"),
            (1 << 32, "1/0"),
            (u64::MAX, "FFFFFFFF/FFFFFFFF"),
        ] {
            assert_eq!(Lsn::new(position).to_string(), text);
            assert_eq!(format!("{:?}", Lsn::new(position)), text);
            assert_eq!(text.parse(), Ok(Lsn::new(position)));
        }
    }

    #[test]
    fn parses_lower_case_and_leading_zeros() {
        assert_eq!(Lsn::parse(b"16/b374d848"), Ok(Lsn::new(0x16_B374_D848)));
        assert_eq!(Lsn::parse(b"00000000/0000000A"), Ok(Lsn::new(10)));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "/",
            "0",
            "0/",
            "/0",
            "0/0/0",
            "0//0",
            "G/0",
            "0/G",
            " 0/0",
            "0/0 ",
            "+0/0",
            "0/-1",
            "0x0/0",
            "123456789/0",
            "0/123456789",
            "0/0\0",
            "é/0",
        ] {
            assert_eq!(Lsn::parse(text.as_bytes()), Err(ParseLsnError), "{text:?}");
        }
    }

    #[test]
    fn distance_never_wraps() {
        assert_eq!(Lsn::new(30).bytes_since(Lsn::new(10)), 20);
        assert_eq!(Lsn::new(10).bytes_since(Lsn::new(30)), 0);
    }

    proptest! {
        #[test]
        fn any_position_survives_its_text_form(position: u64) {
            prop_assert_eq!(Lsn::new(position).to_string().parse(), Ok(Lsn::new(position)));
        }

        #[test]
        fn parsing_never_panics(text: Vec<u8>) {
            let _ = Lsn::parse(&text);
        }
    }
}
