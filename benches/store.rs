//! What the SQLite store does, by how much is in it, without an engine around it; 32 operations in a transaction.

#![allow(missing_docs)]

mod common;

use common::{Folder, fill, item, sizes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pam_pps::pubsub::Counters;
use pam_pps::pubsub::store::{Place, Store};

const GROUP: u64 = 32;

fn store(criterion: &mut Criterion) {
    let folder = Folder::new("store");
    for size in sizes() {
        let (mut store, service, items, crowd) = fill(&folder, size);
        let mut group = criterion.benchmark_group("store");
        let mut seq = size;
        group.throughput(Throughput::Elements(GROUP));
        group.bench_function(BenchmarkId::new("insert and remove the oldest", size), |bencher| {
            bencher.iter(|| {
                let mut transaction = store.begin().expect("a transaction");
                for _ in 0..GROUP {
                    seq += 1;
                    transaction.insert_item(items, &item(seq)).expect("inserted");
                    transaction.delete_oldest_items(items, 1, &mut Vec::new()).expect("removed");
                }
                transaction.commit().expect("a commit");
            });
        });
        let counters = Counters { next_seq: seq + 1, items: size, ..Counters::default() };
        group.throughput(Throughput::Elements(10));
        group.bench_function(BenchmarkId::new("page of ten items", size), |bencher| {
            let mut index = 0;
            bencher.iter(|| {
                index = (index + 7_919) % (size as u64 - 10);
                let mut transaction = store.begin().expect("a transaction");
                transaction.items(items, &counters, None, Place::Index(index), 10).expect("a page")
            });
        });
        group.bench_function(BenchmarkId::new("page of ten nodes", size), |bencher| {
            let mut index = 0;
            bencher.iter(|| {
                index = (index + 7_919) % (size - 10);
                let mut transaction = store.begin().expect("a transaction");
                transaction.nodes(service, Some(&format!("node{index:07}")), 10).expect("nodes")
            });
        });
        group.throughput(Throughput::Elements(1_000));
        group.bench_function(BenchmarkId::new("thousand subscribers", size), |bencher| {
            bencher.iter(|| {
                let mut transaction = store.begin().expect("a transaction");
                transaction.subscriptions(crowd, None, 1_000).expect("subscriptions")
            });
        });
        group.finish();
    }
}

criterion_group!(benches, store);
criterion_main!(benches);
