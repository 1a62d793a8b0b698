//! Records made up by proptest: valid ones in any dress, and the same with bytes broken.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Parser, oracle};

/// Stands between the tokens of a generated record until white space takes its place. It is legal nowhere in
/// JSON, so no string holds it.
const GAP: char = '\u{1}';

/// A string in a random spelling.
#[derive(Debug, Clone)]
struct Spelled {
    raw: String,
    text: String,
}

#[derive(Debug, Clone)]
struct GeneratedColumn {
    name: Spelled,
    type_name: Spelled,
    value: String,
    json: String,
}

#[derive(Debug, Clone)]
struct Generated {
    json: String,
    schema: Spelled,
    table: Spelled,
    columns: Vec<GeneratedColumn>,
}

fn spelled() -> impl Strategy<Value = Spelled> {
    let character = prop_oneof![
        any::<char>(),
        (0_u8..0x80).prop_map(char::from),
        Just('"'),
        Just('\\')
    ];
    vec((character, any::<bool>()), 0..10).prop_map(|characters| {
        let text: String = characters.iter().map(|&(character, _)| character).collect();
        let mut raw = String::from('"');
        for (character, escape) in characters {
            if escape {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    raw += &format!("\\u{unit:04x}");
                }
            } else {
                let quoted = serde_json::to_string(&character).unwrap();
                raw += &quoted[1..quoted.len() - 1];
            }
        }
        raw.push('"');
        Spelled { raw, text }
    })
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        "(true|false|null)",
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        spelled().prop_map(|string| string.raw),
    ];
    scalar.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|elements| group('[', &elements, ']')),
            vec((spelled(), inner), 0..4).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| member(&key.raw, value))
                    .collect();
                group('{', &members, '}')
            }),
        ]
    })
}

fn member(key: &str, value: &str) -> String {
    format!("{key}{GAP}:{GAP}{value}")
}

fn group(open: char, elements: &[String], close: char) -> String {
    format!(
        "{open}{GAP}{}{GAP}{close}",
        elements.join(&format!("{GAP},{GAP}"))
    )
}

/// Members under keys that the parser does not know.
fn unknown() -> impl Strategy<Value = Vec<String>> {
    vec(value(), 0..3).prop_map(|values| {
        let key = |index| format!("\"unknown {index}\"");
        values
            .iter()
            .enumerate()
            .map(|(index, value)| member(&key(index), value))
            .collect()
    })
}

fn column() -> impl Strategy<Value = GeneratedColumn> {
    (spelled(), spelled(), value(), unknown())
        .prop_flat_map(|(name, type_name, value, mut members)| {
            members.push(member(r#""name""#, &name.raw));
            members.push(member(r#""type""#, &type_name.raw));
            members.push(member(r#""value""#, &value));
            (Just((name, type_name, value)), Just(members).prop_shuffle())
        })
        .prop_map(|((name, type_name, value), members)| {
            let json = group('{', &members, '}');
            GeneratedColumn {
                name,
                type_name,
                value,
                json,
            }
        })
}

/// A row change with its keys in any order and white space anywhere.
fn record() -> impl Strategy<Value = Generated> {
    (
        spelled(),
        spelled(),
        vec(column(), 0..5),
        unknown(),
        any::<u32>(),
        any::<u64>(),
    )
        .prop_flat_map(|(schema, table, columns, mut members, xid, lsn)| {
            let list = group(
                '[',
                &columns
                    .iter()
                    .map(|column| column.json.clone())
                    .collect::<Vec<_>>(),
                ']',
            );
            members.push(member(r#""action""#, r#""U""#));
            members.push(member(r#""xid""#, &xid.to_string()));
            members.push(member(
                r#""lsn""#,
                &format!("\"{:X}/{:X}\"", lsn >> 32, lsn as u32),
            ));
            members.push(member(r#""schema""#, &schema.raw));
            members.push(member(r#""table""#, &table.raw));
            members.push(member(r#""columns""#, &list));
            members.push(member(r#""ident\u0069ty""#, &list));
            members.push(member(r#""pk""#, &list));
            (
                Just((schema, table, columns)),
                Just(members).prop_shuffle(),
                vec("[ \t\r\n]{0,2}", 1..8),
            )
        })
        .prop_map(|((schema, table, mut columns), members, gaps)| {
            let mut gaps = gaps.iter().cycle();
            let mut fill = |text: &str| {
                let pieces: Vec<_> = text.split(GAP).collect();
                let mut filled = String::new();
                for (index, piece) in pieces.iter().enumerate() {
                    filled += piece;
                    if index + 1 < pieces.len() {
                        filled += gaps.next().map_or("", String::as_str);
                    }
                }
                filled
            };
            let json = fill(&format!("{GAP}{}{GAP}", group('{', &members, '}')));
            for column in &mut columns {
                column.value = column.value.replace(GAP, "");
            }
            Generated {
                json,
                schema,
                table,
                columns,
            }
        })
}

/// Compares values whose white space differs, keeping every digit.
fn squeezed(value: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    let keep = |character: &char| {
        let keep = in_string || !matches!(character, ' ' | '\t' | '\r' | '\n');
        in_string ^= *character == '"' && !escaped;
        escaped = *character == '\\' && !escaped;
        keep
    };
    value.chars().filter(keep).collect()
}

proptest! {
    #[test]
    fn a_valid_record_is_read_as_it_was_made(generated in record()) {
        let mut parser = Parser::new();
        oracle::check(&mut parser, generated.json.as_bytes());
        let parsed = parser.parse(generated.json.as_bytes()).unwrap();
        prop_assert!(parsed.header.schema.unwrap().is(&generated.schema.text));
        prop_assert!(parsed.header.table.unwrap().is(&generated.table.text));
        prop_assert_eq!(parsed.pk.unwrap().len(), generated.columns.len());
        for columns in [parsed.columns.unwrap(), parsed.identity.unwrap()] {
            prop_assert_eq!(columns.len(), generated.columns.len());
            for (column, made) in columns.iter().zip(&generated.columns) {
                let (name, type_name, value, printed) = (column.name(), column.type_name(), column.value(), column.printed());
                let dense = format!(r#""name":{},"type":{},"value":{value}"#, name.raw(), type_name.raw());
                prop_assert!(printed.is_none_or(|printed| printed == dense), "{:?}", printed);
                prop_assert_eq!(printed.is_some(), generated.json.contains(&dense));
                prop_assert_eq!(name.raw(), &made.name.raw);
                prop_assert_eq!(name.unescape(), made.name.text.as_str());
                prop_assert_eq!(type_name.raw(), &made.type_name.raw);
                prop_assert_eq!(squeezed(value), made.value.as_str());
                prop_assert!(columns.get(&made.name.text).is_some());
            }
        }
    }

    #[test]
    fn a_broken_record_is_refused_or_read_as_serde_json_reads_it(
        generated in record(),
        breaks in vec((any::<prop::sample::Index>(), 0..4_u8, mutant()), 1..4),
    ) {
        let mut bytes = generated.json.into_bytes();
        for (place, kind, byte) in breaks {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                2 => bytes.truncate(place.max(1)),
                _ if bytes.len() > 1 => { bytes.remove(place); }
                _ => {}
            }
        }
        oracle::check(&mut Parser::new(), &bytes);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(mutant(), 0..60)) {
        oracle::check(&mut Parser::new(), &bytes);
        let inside = [br#"{"action":"M","x":"#.as_slice(), &bytes].concat();
        oracle::check(&mut Parser::new(), &inside);
    }
}

/// A byte, more often than not one that means something to JSON.
fn mutant() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        prop::sample::select(br#"{}[]",:\ -+.eE0123456789truefalsnu"#.as_slice())
    ]
}
