//! Publisher crashes at every instruction.
//!
//! A publisher is stepped through a [`Scenario`] once. After each instruction, the bytes that it
//! shares are compared with the bytes before. For each new state:
//!
//! 1. the process is stopped, and its real table is read by attached and by new subscribers and
//!    readers;
//! 2. a copy of the state is treated as the table of a dead publisher ([`copies`]): it is read,
//!    taken over, committed to, and followed.
//!
//! At system calls and at random instructions, the real process is also killed ([`kills`]).
//!
//! - [`expected`]: the tables that readers may see;
//! - [`followers`]: subscribers and successors;
//! - [`lookups`]: readers that look up keys by the key index;
//! - [`sweeps`]: sweeps after the crashes.

mod copies;
mod expected;
mod followers;
mod kills;
mod lookups;
mod sweeps;

use tests::object_state::ObjectState;
use tests::scenario::Scenario;
use tests::stepper::Stepper;
use tests::table::Table;
use tests::{full_or, role, skip};

use copies::{die_everywhere, states_of};
use kills::{kill_everywhere, kill_takeovers};

fn can_step() -> bool {
    let table = Table::new("can-step");
    let stepper = Stepper::start(&mut role!("stepped", table.name(), Scenario::Creation));
    stepper.map(Stepper::kill).map_err(|reason| skip(&reason)).is_ok()
}

/// Runs all checks for a scenario that begins without a table, or with the table that a publisher
/// `left`.
fn die_in(scenario: Scenario, left: Option<&ObjectState>) {
    let pass = die_everywhere(scenario, left);
    let kills = kill_everywhere(scenario, left, &pass, full_or(34, 10));
    println!("{scenario}: {pass}, {kills}");
}

/// Returns the table of a publisher that died during the last transaction of [`Scenario::Rewrite`].
fn left_in_the_middle() -> ObjectState {
    let mut states = states_of(Scenario::Rewrite);
    let last = states.last().expect("at least the first state").commit();
    states.retain(|state| state.commit() == last - 1);
    states.swap_remove(states.len() / 2)
}

#[test]
fn publisher_death_at_any_instruction_of_commit_loses_nothing() {
    if can_step() {
        die_in(Scenario::Rewrite, None);
    }
}

#[test]
fn publisher_death_at_any_instruction_of_growth_loses_nothing() {
    if can_step() {
        die_in(Scenario::Growth, None);
    }
}

#[test]
fn publisher_death_at_any_instruction_of_growth_to_larger_region_loses_nothing() {
    if can_step() {
        die_in(Scenario::Larger, None);
    }
}

#[test]
fn publisher_death_at_any_instruction_of_key_index_changes_loses_nothing() {
    if can_step() {
        die_in(Scenario::Index, None);
    }
}

#[test]
fn publisher_death_at_any_instruction_of_creation_leaves_whole_table_or_none() {
    if can_step() {
        die_in(Scenario::Creation, None);
    }
}

#[test]
fn publisher_death_at_any_instruction_of_takeover_loses_nothing() {
    if can_step() {
        die_in(Scenario::Takeover, Some(&left_in_the_middle()));
    }
}

#[test]
fn successively_killed_takeovers_lose_nothing() {
    if can_step() {
        let takeovers = full_or(30, 10);
        let committed = kill_takeovers(&left_in_the_middle(), takeovers);
        println!("{takeovers} takeovers were killed, {committed} of them after their commit");
    }
}

#[test]
fn publisher_death_at_any_instruction_of_succession_loses_nothing() {
    if can_step() {
        die_in(Scenario::Successor, Some(&left_in_the_middle()));
    }
}

#[test]
fn publisher_death_at_any_instruction_of_succession_with_equal_capacity_loses_nothing() {
    if can_step() {
        die_in(Scenario::EqualSuccessor, Some(&left_in_the_middle()));
    }
}

#[test]
fn publisher_death_at_any_instruction_after_region_removal_loses_nothing() {
    if can_step() {
        die_in(Scenario::Removed, None);
    }
}

#[test]
fn publisher_death_at_any_instruction_of_reshape_loses_nothing() {
    if can_step() {
        die_in(Scenario::Reshape, None);
    }
}

#[test]
fn publisher_death_at_any_instruction_of_close_leaves_whole_table_or_none() {
    if can_step() {
        die_in(Scenario::Closing, None);
    }
}
