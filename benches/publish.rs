//! What the engine does with requests, by how much there is already: the cost of a thing must not grow with the others.
//! Each input has a transaction of its own here; `benches/engine.rs` shows what grouping makes of it.

#![allow(missing_docs)]

mod common;

use std::cell::Cell;

use common::{Folder, OWNER, ask, engine, fill, payload, sizes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

fn publish_to(node: &str, number: i64) -> String {
    let payload = payload();
    format!(
        "<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='new{number}'>{payload}</item></publish></pubsub>"
    )
}

fn growth(criterion: &mut Criterion) {
    let folder = Folder::new("publish");
    let count = Cell::new(0);
    let next = || {
        count.set(count.get() + 1);
        count.get()
    };
    for size in sizes() {
        drop(fill(&folder, size));
        let mut group = criterion.benchmark_group("start to first answer");
        group.sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| ask(&engine(&folder, size), next(), "set", OWNER, &publish_to("node0000001", next())));
        });
        group.finish();
        let engine = engine(&folder, size);
        let mut group = criterion.benchmark_group("growth");
        group.bench_function(BenchmarkId::new("publish, evicting", size), |bencher| {
            bencher.iter(|| ask(&engine, next(), "set", OWNER, &publish_to("items", next())));
        });
        group.bench_function(BenchmarkId::new("page of ten", size), |bencher| {
            bencher.iter(|| {
                let index = (next() * 7_919) % (size - 10);
                let set =
                    format!("<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><index>{index}</index></set>");
                let request = format!("<pubsub xmlns='{PUBSUB}'><items node='items'/>{set}</pubsub>");
                ask(&engine, next(), "get", OWNER, &request)
            });
        });
        group.bench_function(BenchmarkId::new("newest ten", size), |bencher| {
            let set = "<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><before/></set>";
            let request = format!("<pubsub xmlns='{PUBSUB}'><items node='items'/>{set}</pubsub>");
            bencher.iter(|| ask(&engine, next(), "get", OWNER, &request));
        });
        group.bench_function(BenchmarkId::new("subscribe and unsubscribe", size), |bencher| {
            bencher.iter(|| {
                let jid = format!("new{}@there.example", next());
                for word in ["subscribe", "unsubscribe"] {
                    let request = format!("<pubsub xmlns='{PUBSUB}'><{word} node='crowd' jid='{jid}'/></pubsub>");
                    ask(&engine, next(), "set", &jid, &request);
                }
            });
        });
        group.bench_function(BenchmarkId::new("disco#items page", size), |bencher| {
            let request = "<query xmlns='http://jabber.org/protocol/disco#items'>\
                <set xmlns='http://jabber.org/protocol/rsm'><max>10</max></set></query>";
            bencher.iter(|| ask(&engine, next(), "get", OWNER, request));
        });
        group.finish();
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out");
    for subscribers in [1, 100, 10_000] {
        let folder = Folder::new(&format!("fan-out-{subscribers}"));
        drop(fill(&folder, subscribers));
        let engine = engine(&folder, subscribers);
        let mut number = 0;
        group.throughput(Throughput::Elements(subscribers as u64));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| {
                number += 1;
                ask(&engine, number, "set", OWNER, &publish_to("crowd", number))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, growth, fan_out);
criterion_main!(benches);
