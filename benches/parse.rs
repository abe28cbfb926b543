//! Reading stanzas: by the size of a payload, and by the number of its elements.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pam_pps::xml::{Document, Limits};

fn stanza(inside: &str) -> String {
    format!(
        "<iq type='set' id='p1' from='juliet@capulet.example/balcony' to='pubsub.capulet.example'>\
         <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='blog'><item id='1'>\
         <entry xmlns='http://www.w3.org/2005/Atom'>{inside}</entry></item></publish></pubsub></iq>"
    )
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for bytes in [300, 4_096, 65_536] {
        let text = stanza(&"x".repeat(bytes));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("text", bytes), &text, |bencher, text| {
            bencher.iter(|| Document::parse(black_box(text), &Limits::default()).is_ok());
        });
    }
    for elements in [10, 100, 1_000, 10_000] {
        let text = stanza(&"<link rel='alternate' href='xmpp:a@b?;node=c'/>".repeat(elements));
        group.throughput(Throughput::Elements(elements as u64));
        group.bench_with_input(BenchmarkId::new("elements", elements), &text, |bencher, text| {
            bencher.iter(|| Document::parse(black_box(text), &Limits::default()).is_ok());
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
