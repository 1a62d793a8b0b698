//! The codec on a walsender's stream made of records captured from a real server: frame, CopyData, XLogData.
//!
//! `whole` has all bytes in the buffer beforehand and so measures decoding alone. `chunks` brings 16 KiB at a time,
//! as a socket would, and so includes one copy of every byte into the buffer, the frames that are cut in two, and
//! the buffer's reuse.

#![expect(
    missing_docs,
    reason = "criterion_group! makes a public function without documentation"
)]

use std::hint::black_box;

use bytes::{BufMut, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pgstream_proto::replication::{ReplicationMessage, StandbyStatusUpdate};
use pgstream_proto::{BackendMessage, FrontendMessage, Lsn, PgCodec, PgTimestamp, limits};
use tokio_util::codec::{Decoder, Encoder};

/// About how many bytes one stream has.
const STREAM_LEN: usize = 1024 * 1024;

/// What one read brings.
const CHUNK: usize = 16 * 1024;

macro_rules! records {
    ($($name:literal),+) => {
        [$(($name, include_bytes!(concat!("records/", $name, ".json")).as_slice())),+]
    };
}

fn decode(criterion: &mut Criterion) {
    for (name, record) in records!["begin", "commit", "narrow", "order", "wide", "json64k", "delete"] {
        let frames = STREAM_LEN.div_ceil(record.len());
        let stream = frame(record).repeat(frames);
        assert_eq!(
            decode_whole(BytesMut::from(&stream[..])),
            frames * record.len(),
            "{name}"
        );
        assert_eq!(decode_chunks(&stream), frames * record.len(), "{name}");

        let mut group = criterion.benchmark_group(format!("codec/{name}"));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function("whole", |bencher| {
            bencher.iter_batched(
                || BytesMut::from(&stream[..]),
                decode_whole,
                BatchSize::LargeInput,
            );
        });
        group.bench_function("chunks", |bencher| {
            bencher.iter(|| decode_chunks(black_box(&stream)));
        });
        group.finish();
    }
}

fn encode(criterion: &mut Criterion) {
    let update = StandbyStatusUpdate {
        write: Lsn::new(0x152_CAF0),
        flush: Lsn::new(0x152_BC10),
        apply: Lsn::new(0x152_BC10),
        client_time: PgTimestamp::from_micros(795_174_691_197_150),
        reply_requested: false,
    };
    let mut codec = PgCodec::new();
    let mut dst = BytesMut::new();
    codec
        .encode(update.into(), &mut dst)
        .expect("nothing in it can fail");

    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(dst.len() as u64));
    group.bench_function("standby_status_update", |bencher| {
        bencher.iter(|| {
            dst.clear();
            codec
                .encode(FrontendMessage::from(black_box(update)), &mut dst)
                .expect("nothing in it can fail");
            black_box(&dst);
        });
    });
    group.finish();
}

/// A record as a walsender sends it.
fn frame(record: &[u8]) -> Vec<u8> {
    let mut frame = vec![b'd'];
    frame.put_u32(u32::try_from(4 + 25 + record.len()).expect("records are short"));
    frame.put_u8(b'w');
    frame.put_u64(0x152_BC10);
    frame.put_u64(0x152_BC10);
    frame.put_i64(795_174_691_197_150);
    frame.put_slice(record);
    frame
}

fn decode_whole(mut src: BytesMut) -> usize {
    drain(&mut PgCodec::new(), &mut src)
}

fn decode_chunks(stream: &[u8]) -> usize {
    let mut codec = PgCodec::new();
    let mut src = BytesMut::with_capacity(limits::READ_CHUNK);
    let decode_chunk = |chunk| {
        src.extend_from_slice(chunk);
        drain(&mut codec, &mut src)
    };
    stream.chunks(CHUNK).map(decode_chunk).sum()
}

/// Decodes what is complete, and gives the length of its payloads.
fn drain(codec: &mut PgCodec, src: &mut BytesMut) -> usize {
    let mut payloads = 0;
    while let Some(message) = codec.decode(src).expect("the stream is valid") {
        let BackendMessage::CopyData(copy_data) = message else {
            unreachable!("the stream is all CopyData")
        };
        match ReplicationMessage::decode(copy_data).expect("the stream is valid") {
            ReplicationMessage::XLogData(data) => payloads += black_box(data).payload.len(),
            ReplicationMessage::PrimaryKeepalive(_) => unreachable!("the stream is all XLogData"),
        }
    }
    payloads
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
