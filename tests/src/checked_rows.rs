//! Rows from which a reader can detect a torn row or a partly visible transaction.
//!
//! Each row is sealed: its words are a function of its id, its balance and the version that wrote
//! it. Row 0 is the ledger. Every transaction rewrites it with the number of rows, a digest of all
//! rows, and its own version. Transactions only move money, so the sum of all balances is constant.

use common::{Publisher, Row};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Sum of all balances.
pub const TOTAL: i64 = 1_000_000;

const PAYLOAD: usize = 27;

/// A row of 256 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
pub struct Account {
    /// The key. Row 0 is the ledger.
    #[row(key)]
    pub id: u64,
    /// The version that wrote the row.
    pub version: u64,
    /// The part of [`TOTAL`] that this account holds.
    pub balance: i64,
    /// Number of other rows; set only in the ledger.
    pub rows: u64,
    /// Sum of the digests of all other rows; set only in the ledger.
    pub digest: u64,
    /// Words computed from all fields above.
    #[row(skip)]
    seal: [u64; PAYLOAD],
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Account {
    fn sealed(id: u64, version: u64, balance: i64, rows: u64, digest: u64) -> Self {
        let mut account = Self { id, version, balance, rows, digest, seal: [0; PAYLOAD] };
        account.seal = account.seal_words();
        account
    }

    fn seal_words(&self) -> [u64; PAYLOAD] {
        let mut word = self.digest_of() ^ mix(self.rows) ^ self.digest;
        std::array::from_fn(|_| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word
        })
    }

    fn digest_of(&self) -> u64 {
        mix(self.id ^ mix(self.version ^ mix(self.balance as u64)))
    }

    /// Returns true if all words were written by the same write.
    pub fn is_whole(&self) -> bool {
        self.seal == self.seal_words()
    }
}

/// Checks that a table is in the state after exactly one transaction. Returns its number of rows.
///
/// # Errors
/// A description of the torn row or of the partly visible transaction.
pub fn check<'a>(rows: impl IntoIterator<Item = &'a Account>) -> Result<u64, String> {
    let (mut ledger, mut count, mut digest, mut sum) = (None, 0, 0_u64, 0_i64);
    let mut newest = 0;
    for row in rows {
        if !row.is_whole() {
            return Err(format!("torn row: {row:?}"));
        }
        newest = newest.max(row.version);
        if row.id == 0 {
            ledger = Some(*row);
        } else {
            count += 1;
            digest = digest.wrapping_add(row.digest_of());
            sum += row.balance;
        }
    }
    let Some(ledger) = ledger else {
        return Err(format!("half a transaction: no ledger among {count} rows"));
    };
    let expected = (ledger.version, ledger.rows, ledger.digest, TOTAL);
    if expected == (newest, count, digest, sum) {
        Ok(count + 1)
    } else {
        Err(format!(
            "half a transaction: (version, rows, digest, sum) is {:?}, the ledger says {expected:?}",
            (newest, count, digest, sum)
        ))
    }
}

/// The rows as their writer knows them.
pub struct Ledger {
    rng: SmallRng,
    /// Accounts by id; the entry of the ledger is empty.
    accounts: Vec<Option<Account>>,
    digest: u64,
    rows: u64,
}

impl Ledger {
    /// Continues with the rows of a publisher, or starts with `size` accounts, of which the first
    /// holds the total.
    pub fn of(publisher: &Publisher<Account>, size: usize, seed: u64) -> Self {
        let mut ledger = Self {
            rng: SmallRng::seed_from_u64(seed),
            accounts: vec![None; size + 1],
            digest: 0,
            rows: 0,
        };
        for account in publisher.iter().map(|account| account.expect("an intact table")) {
            if account.id != 0 {
                ledger.put(account);
            }
        }
        ledger
    }

    fn put(&mut self, account: Account) {
        self.take(account.id as usize);
        self.digest = self.digest.wrapping_add(account.digest_of());
        self.rows += 1;
        self.accounts[account.id as usize] = Some(account);
    }

    fn take(&mut self, id: usize) -> i64 {
        let Some(account) = self.accounts[id].take() else {
            return 0;
        };
        self.digest = self.digest.wrapping_sub(account.digest_of());
        self.rows -= 1;
        account.balance
    }

    fn balance(&self, id: usize) -> i64 {
        self.accounts[id].map_or(0, |account| account.balance)
    }

    /// Commits a random transaction and returns its version. Most transactions touch two accounts;
    /// some touch all, or create and delete many. One in sixteen is first begun and dropped, then
    /// repeated.
    ///
    /// # Errors
    /// The errors of the publisher.
    pub fn commit(&mut self, publisher: &mut Publisher<Account>) -> common::Result<u64> {
        let version = publisher.version() + 1;
        let last = self.accounts.len() - 1;
        let touched: Vec<usize> = match self.rng.random_range(0..16) {
            _ if self.rows == 0 => (1..=last).collect(),
            0 => (1..=last).collect(),
            1..=3 => (0..last / 4).map(|_| self.rng.random_range(1..=last)).collect(),
            _ => (0..2).map(|_| self.rng.random_range(1..=last)).collect(),
        };
        if self.rng.random_range(0..16) == 0 {
            let mut dropped = publisher.begin();
            for id in &touched {
                dropped.upsert(&Account::sealed(*id as u64, version, -1, 0, 0))?;
            }
        }
        let mut tx = publisher.begin();
        let mut purse = if self.rows == 0 { TOTAL } else { 0 };
        for (number, id) in touched.iter().enumerate() {
            purse += self.balance(*id);
            let is_last = number + 1 == touched.len();
            if !is_last && self.rng.random_range(0..8) == 0 {
                if self.accounts[*id].is_some() {
                    tx.delete(&(*id as u64))?;
                }
                self.take(*id);
                continue;
            }
            let kept = if is_last { purse } else { self.rng.random_range(0..=purse) };
            purse -= kept;
            let account = Account::sealed(*id as u64, version, kept, 0, 0);
            tx.upsert(&account)?;
            self.put(account);
        }
        let ledger = Account::sealed(0, version, 0, self.rows, self.digest);
        tx.upsert(&ledger)?;
        tx.commit()
    }
}
