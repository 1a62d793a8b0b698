//! The wal2json parser on records captured from a real server, with serde_json into borrowed structs beside it as
//! the yardstick. Both read every name, type and value, since the parser leaves cutting them out to its caller.

#![expect(
    missing_docs,
    reason = "criterion_group! makes a public function without documentation"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgstream_proto::wal2json::{JsonStr, Parser, Record, header};

#[path = "../proto/src/wal2json/tests/reference.rs"]
mod reference;

use reference::{Reference, ReferenceColumn, Text};

macro_rules! records {
    ($($name:literal),+) => {
        [$(($name, include_bytes!(concat!("records/", $name, ".json")).as_slice())),+]
    };
}

fn wal2json(criterion: &mut Criterion) {
    for (name, record) in records!["begin", "commit", "narrow", "order", "wide", "json64k", "delete"] {
        let mut parser = Parser::new();
        let parsed = parser.parse(record).expect("a captured record is valid");
        let reference = serde_json::from_slice(record).expect("a captured record is valid");
        assert_eq!(
            weigh(&parsed),
            weigh_reference(&reference),
            "both read the same of {name}"
        );

        let mut group = criterion.benchmark_group(format!("wal2json/{name}"));
        group.throughput(Throughput::Bytes(record.len() as u64));
        group.bench_function("header", |bencher| {
            bencher.iter(|| header(black_box(record)).expect("valid").action);
        });
        group.bench_function("record", |bencher| {
            bencher.iter(|| weigh(&parser.parse(black_box(record)).expect("valid")));
        });
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| weigh_reference(&serde_json::from_slice(black_box(record)).expect("valid")));
        });
        group.finish();
    }
}

/// Adds up the length of all that is in a record, which forces all of it to be read.
fn weigh(record: &Record<'_>) -> usize {
    let header = record.header;
    let string = |string: JsonStr<'_>| string.unescape().len();
    let texts = [
        header.timestamp,
        header.schema,
        header.table,
        record.prefix,
        record.content,
    ];
    let texts: usize = texts.into_iter().flatten().map(string).sum();
    let columns = [record.columns, record.identity].into_iter().flatten();
    let columns: usize = columns
        .flat_map(|list| list.iter())
        .map(|column| string(column.name()) + string(column.type_name()) + column.value().len())
        .sum();
    let keys = record.pk.into_iter().flat_map(|keys| keys.iter());
    let keys: usize = keys.map(|key| string(key.name) + string(key.type_name)).sum();
    let numbers = [header.xid, record.origin].into_iter().flatten().count();
    let positions = [header.lsn, header.nextlsn].into_iter().flatten().count();
    let flags = header.transactional.into_iter().count();
    header.action.letter().len() + texts + columns + keys + numbers + positions + flags
}

fn weigh_reference(record: &Reference<'_>) -> usize {
    let string = |text: &Text<'_>| text.0.len();
    let texts = [
        &record.timestamp,
        &record.schema,
        &record.table,
        &record.prefix,
        &record.content,
    ];
    let texts: usize = texts.into_iter().flatten().map(string).sum();
    let column = |column: &ReferenceColumn<'_>| {
        string(&column.name) + string(&column.type_name) + column.value.get().len()
    };
    let columns: usize = [&record.columns, &record.identity]
        .into_iter()
        .flatten()
        .flatten()
        .map(column)
        .sum();
    let keys: usize = record
        .pk
        .iter()
        .flatten()
        .map(|key| string(&key.name) + string(&key.type_name))
        .sum();
    let numbers = [record.xid, record.origin].into_iter().flatten().count();
    let positions = [&record.lsn, &record.nextlsn].into_iter().flatten().count();
    let flags = record.transactional.into_iter().count();
    string(&record.action) + texts + columns + keys + numbers + positions + flags
}

criterion_group!(benches, wal2json);
criterion_main!(benches);
