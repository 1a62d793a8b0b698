//! The inside of JSON strings (RFC 8259, section 7): where plain text ends, and what an escape stands for.

use super::Problem;

/// How many of the first bytes stand for themselves: neither a quote, nor a backslash, nor a control character.
#[inline]
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return index * 8 + (special.trailing_zeros() / 8) as usize;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + tail.iter().position(special).unwrap_or(tail.len())
}

/// Has the top bit of the lowest special byte of a word set. Bits above that one may be wrong, since a borrow
/// runs upwards.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    (below_space | is_quote | is_backslash) & TOPS
}

/// How long the escape sequence at the start of `bytes` is, if it is valid.
#[inline]
pub(super) fn length(bytes: &[u8]) -> Result<usize, Problem> {
    match bytes.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        _ => decode(bytes).map(|(_, length)| length),
    }
}

/// The character that the escape sequence at the start of `bytes` stands for, and the sequence's length.
///
/// `bytes` begins with the backslash. A surrogate pair is one sequence of twelve bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<(char, usize), Problem> {
    let Some(&kind) = bytes.get(1) else {
        return Err(Problem::EndsBefore("the rest of an escape sequence"));
    };
    let plain = match kind {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return decode_unicode(bytes),
        _ => return Err(Problem::Escape),
    };
    Ok((plain, 2))
}

fn decode_unicode(bytes: &[u8]) -> Result<(char, usize), Problem> {
    let unit = code_unit(bytes)?;
    if let Some(character) = char::from_u32(unit) {
        return Ok((character, 6));
    }
    // What is not a character is a surrogate: U+D800 to U+DBFF lead, U+DC00 to U+DFFF trail.
    let behind = &bytes[6..];
    if unit >= 0xDC00 || !behind.starts_with(b"\\u") {
        return Err(Problem::LoneSurrogate);
    }
    let trail = code_unit(behind)?;
    if !(0xDC00..0xE000).contains(&trail) {
        return Err(Problem::LoneSurrogate);
    }
    let code = 0x1_0000 + ((unit - 0xD800) << 10) + (trail - 0xDC00);
    char::from_u32(code)
        .map(|character| (character, 12))
        .ok_or(Problem::LoneSurrogate)
}

/// The number in the `\uXXXX` at the start of `bytes`.
fn code_unit(bytes: &[u8]) -> Result<u32, Problem> {
    let Some(digits) = bytes.get(2..6) else {
        return Err(Problem::EndsBefore("four hexadecimal digits"));
    };
    digits.iter().try_fold(0, |unit, &digit| {
        let value = char::from(digit).to_digit(16).ok_or(Problem::Escape)?;
        Ok(unit << 4 | value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode, length, plain_prefix};
    use crate::wal2json::Problem;

    #[test]
    fn every_escape_stands_for_its_character() {
        for (escape, character) in [
            (r#"\""#, '"'),
            (r"\\", '\\'),
            (r"\/", '/'),
            (r"\b", '\u{8}'),
            (r"\f", '\u{c}'),
            (r"\n", '\n'),
            (r"\r", '\r'),
            (r"\t", '\t'),
            (r"\u0000", '\0'),
            (r"\u00e9", 'é'),
            (r"\u00E9", 'é'),
            (r"\uD7FF", '\u{D7FF}'),
            (r"\uE000", '\u{E000}'),
            (r"\ud83d\ude00", '😀'),
            (r"\uDBFF\uDFFF", char::MAX),
        ] {
            assert_eq!(
                decode(escape.as_bytes()),
                Ok((character, escape.len())),
                "{escape}"
            );
            assert_eq!(length(escape.as_bytes()), Ok(escape.len()), "{escape}");
        }
    }

    #[test]
    fn what_is_no_escape_is_named() {
        for (escape, problem) in [
            ("\\", Problem::EndsBefore("the rest of an escape sequence")),
            (r"\x", Problem::Escape),
            (r"\U0041", Problem::Escape),
            (r"\u", Problem::EndsBefore("four hexadecimal digits")),
            (r"\u00e", Problem::EndsBefore("four hexadecimal digits")),
            (r"\u00g0", Problem::Escape),
            (r"\u+041", Problem::Escape),
            (r"\ud83d", Problem::LoneSurrogate),
            (r"\ud83dab", Problem::LoneSurrogate),
            (r"\ude00", Problem::LoneSurrogate),
            (r"\ude00\ud83d", Problem::LoneSurrogate),
            (r"\ud83d\ud83d", Problem::LoneSurrogate),
            (r"\ud83d\u0041", Problem::LoneSurrogate),
            (r"\ud83d\u00", Problem::EndsBefore("four hexadecimal digits")),
        ] {
            assert_eq!(decode(escape.as_bytes()), Err(problem), "{escape}");
            assert_eq!(length(escape.as_bytes()), Err(problem), "{escape}");
        }
    }

    proptest! {
        #[test]
        fn plain_text_ends_at_the_first_special_byte(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let naive = bytes.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20);
            prop_assert_eq!(plain_prefix(&bytes), naive.unwrap_or(bytes.len()));
        }

        #[test]
        fn plain_text_of_any_length_is_passed(text in "[ -!#-\\[\\]-~é😀\u{7f}]{0,40}", tail in "[\"\\\\\n\u{1f}]?") {
            let bytes = [text.as_bytes(), tail.as_bytes()].concat();
            prop_assert_eq!(plain_prefix(&bytes), text.len());
        }
    }
}
