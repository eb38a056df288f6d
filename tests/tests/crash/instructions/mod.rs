//! Death at every instruction of a publisher.
//!
//! A publisher is stepped through a [`Play`] once. After each instruction the bytes that it shares are compared with those
//! before. For each state of them that is new
//!
//! 1. the process merely stands, and its real table is read, by who attached before and by who attaches now;
//! 2. a copy of the state is treated as what a dead publisher left ([`copies`]): it is read, taken over, committed to, and followed.
//!
//! At system calls and at random steps the real process is killed instead ([`kills`]).
//!
//! - [`expected`]: the tables that may be seen, and when;
//! - [`followers`]: who looks on: asleep, awake, attaching, taking over.

mod copies;
mod expected;
mod followers;
mod kills;

use tests::object_state::Picture;
use tests::scenario::Play;
use tests::stepper::Stepper;
use tests::table::Table;
use tests::{role, skip};

use copies::{die_everywhere, states_of};
use kills::{kill_everywhere, kill_takeovers};

/// Processes that are killed at random steps of a play. There are nine plays.
const RANDOM_KILLS: usize = 34;

/// Takeovers that are killed one after the other.
const TAKEOVERS: usize = 30;

fn can_step() -> bool {
    let table = Table::new("can-step");
    let stepper = Stepper::start(&mut role!("stepped", table.name(), Play::Creation));
    stepper
        .map(Stepper::kill)
        .map_err(|reason| skip(&reason))
        .is_ok()
}

/// All of it for a play that begins with nothing, or with what a publisher `left`.
fn die_in(play: Play, left: Option<&Picture>) {
    let pass = die_everywhere(play, left);
    let kills = kill_everywhere(play, left, &pass, RANDOM_KILLS);
    println!("{play}: {pass}, {kills}");
}

/// What a publisher leaves that dies in the middle of the last transaction of [`Play::Rewrite`].
fn left_in_the_middle() -> Picture {
    let mut states = states_of(Play::Rewrite);
    let last = states.last().expect("the first one at least").commit();
    states.retain(|state| state.commit() == last - 1);
    states.swap_remove(states.len() / 2)
}

#[test]
fn a_death_at_any_instruction_of_a_commit_loses_nothing() {
    if can_step() {
        die_in(Play::Rewrite, None);
    }
}

#[test]
fn a_death_at_any_instruction_of_growth_loses_nothing() {
    if can_step() {
        die_in(Play::Growth, None);
    }
}

#[test]
fn a_death_at_any_instruction_of_a_creation_leaves_a_table_or_none() {
    if can_step() {
        die_in(Play::Creation, None);
    }
}

#[test]
fn a_death_at_any_instruction_of_a_takeover_loses_nothing() {
    if can_step() {
        die_in(Play::Takeover, Some(&left_in_the_middle()));
    }
}

#[test]
fn takeovers_that_are_killed_one_after_the_other_lose_nothing() {
    if can_step() {
        let committed = kill_takeovers(&left_in_the_middle(), TAKEOVERS);
        println!("{TAKEOVERS} takeovers were killed, {committed} of them after their commit");
    }
}

#[test]
fn a_death_at_any_instruction_of_a_succession_loses_nothing() {
    if can_step() {
        die_in(Play::Successor, Some(&left_in_the_middle()));
    }
}

#[test]
fn a_death_at_any_instruction_of_a_succession_of_equal_capacity_loses_nothing() {
    if can_step() {
        die_in(Play::EqualSuccessor, Some(&left_in_the_middle()));
    }
}

#[test]
fn a_death_at_any_instruction_after_the_region_was_removed_loses_nothing() {
    if can_step() {
        die_in(Play::Removed, None);
    }
}

#[test]
fn a_death_at_any_instruction_of_a_reshape_loses_nothing() {
    if can_step() {
        die_in(Play::Reshape, None);
    }
}

#[test]
fn a_death_at_any_instruction_of_closing_leaves_a_table_or_none() {
    if can_step() {
        die_in(Play::Closing, None);
    }
}
