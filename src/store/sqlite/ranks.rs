//! The place of a member in an ordered set, and the member of a place.
//!
//! Members have rising numbers. Those that are taken away from the beginning leave nothing behind, and without others
//! the place is a difference. The others leave a gap, counted for blocks of numbers: then only the blocks at both
//! ends are counted member by member. A page somewhere in a million items costs a thousand small steps instead of a
//! million, and publishing costs nothing.

use super::transaction::Open;
use super::{rows, statements};
use crate::error::Result;

/// The statements of one kind of set. Each set belongs to a node, or to the list of an account.
pub(super) struct Ordered {
    count: &'static str,
    add_gap: &'static str,
    forget_gaps: &'static str,
    sum_gaps: &'static str,
    gaps: &'static str,
}

/// Items by their `seq_key`.
pub(super) const ITEMS: Ordered = Ordered {
    count: statements::COUNT_ITEMS,
    add_gap: statements::ADD_ITEM_GAP,
    forget_gaps: statements::FORGET_ITEM_GAPS,
    sum_gaps: statements::SUM_ITEM_GAPS,
    gaps: statements::SELECT_ITEM_GAPS,
};

/// Public subscribers by their position.
pub(super) const PUBLIC: Ordered = Ordered {
    count: statements::COUNT_PUBLIC_SUBSCRIBERS,
    add_gap: statements::ADD_PUBLIC_GAP,
    forget_gaps: statements::FORGET_PUBLIC_GAPS,
    sum_gaps: statements::SUM_PUBLIC_GAPS,
    gaps: statements::SELECT_PUBLIC_GAPS,
};

/// Public subscriptions of an account by their position.
pub(super) const ACCOUNT: Ordered = Ordered {
    count: statements::COUNT_PUBLIC_SUBSCRIPTIONS,
    add_gap: statements::ADD_ACCOUNT_GAP,
    forget_gaps: statements::FORGET_ACCOUNT_GAPS,
    sum_gaps: statements::SUM_ACCOUNT_GAPS,
    gaps: statements::SELECT_ACCOUNT_GAPS,
};

/// Numbers in a block. Part of the schema: stored gaps are counted by it.
const BLOCK: i64 = 512;

fn block(number: i64) -> i64 {
    number.div_euclid(BLOCK)
}

impl Ordered {
    /// Notes that a member was taken away; `first` was the first one before that.
    pub(super) fn took(&self, open: &mut Open<'_>, owner: i64, first: i64, number: i64) -> Result<()> {
        if number == first {
            return Ok(());
        }
        open.execute(self.forget_gaps, (owner, block(first)))?;
        open.execute(self.add_gap, (owner, block(number))).map(drop)
    }

    /// How many members are from `first`, the first of them, to before `number`.
    pub(super) fn before(&self, open: &mut Open<'_>, owner: i64, first: i64, number: i64) -> Result<i64> {
        let (from, to) = (block(first), block(number));
        if from == to {
            return open.one(self.count, (owner, first, number - 1), rows::number);
        }
        let head = open.one(self.count, (owner, first, (from + 1) * BLOCK - 1), rows::number)?;
        let missing = open.one(self.sum_gaps, (owner, from + 1, to - 1), rows::number)?;
        let tail = open.one(self.count, (owner, to * BLOCK, number - 1), rows::number)?;
        Ok(head + (to - from - 1) * BLOCK - missing + tail)
    }

    /// The member of that place, as a number and how many members to skip from it on.
    pub(super) fn at(&self, open: &mut Open<'_>, owner: i64, first: i64, place: i64) -> Result<(i64, i64)> {
        let from = block(first) + 1;
        let head = open.one(self.count, (owner, first, from * BLOCK - 1), rows::number)?;
        if place < head {
            return Ok((first, place));
        }
        let (mut from, mut place) = (from, place - head);
        for (with_gaps, missing) in open.all(self.gaps, (owner, from), rows::two_numbers)? {
            let whole = (with_gaps - from) * BLOCK;
            if place < whole {
                break;
            }
            place -= whole;
            from = with_gaps;
            if place < BLOCK - missing {
                return Ok((from * BLOCK, place));
            }
            place -= BLOCK - missing;
            from += 1;
        }
        Ok(((from + place / BLOCK) * BLOCK, place % BLOCK))
    }
}
