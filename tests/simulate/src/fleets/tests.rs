//! Every scenario with a small fleet, random small fleets, and disks that lie.

use proptest::prelude::*;
use waxwing_server::domain::rollout::{Plan, State};

use super::scenario::{Nature, Planned, Starts};
use super::*;

/// The same devices and seed as always: a run that is the same run each time.
fn small(devices: u32, seed: u64) -> Run {
    Run { devices, seed, honesty: Honesty::Honest, audit_s: AUDIT_S }
}

#[track_caller]
fn check(name: &str) -> Summary {
    // Those in which nothing halts and no phase has a size need not be large.
    let is_long =
        ["slow-links", "hindered", "offline", "lying", "wrong-clocks", "two-rollouts", "windows"];
    let run_of = small(if is_long.contains(&name) { 300 } else { 2_000 }, 1);
    let scenario = all(run_of.devices).into_iter().find(|it| it.name == name).unwrap();
    run(&scenario, run_of)
        .unwrap_or_else(|broken| panic!("{}", accusation(name, &broken, run_of.devices, 1)))
}

macro_rules! every_promise_holds {
    ($($test:ident $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        #[test]
        fn every_scenario_has_a_test() {
            let names: Vec<_> = all(1).iter().map(|scenario| scenario.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

every_promise_holds! {
    promises_hold_for_a_good_release "good",
    promises_hold_for_a_release_that_breaks_a_fifth "broken-fifth",
    promises_hold_for_a_release_that_breaks_a_thousandth "broken-thousandth",
    promises_hold_for_a_release_that_silences_devices "silent",
    promises_hold_in_phases "phases",
    promises_hold_on_slow_links "slow-links",
    promises_hold_for_devices_that_are_hindered "hindered",
    promises_hold_for_devices_that_are_seldom_there "offline",
    promises_hold_among_liars "lying",
    promises_hold_with_wrong_clocks "wrong-clocks",
    promises_hold_for_devices_that_go_back_later "flapping",
    promises_hold_for_a_server_whose_clock_is_set_back "slow-server",
    promises_hold_for_a_server_that_dies_each_hour "restarts",
    promises_hold_for_two_rollouts "two-rollouts",
    promises_hold_on_the_way_back "way-back",
    promises_hold_in_windows "windows",
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let scenario = all(500).into_iter().find(|it| it.name == "restarts").unwrap();
    let [one, again] = [run(&scenario, small(500, 9)), run(&scenario, small(500, 9))];
    assert_eq!(format!("{one:?}"), format!("{again:?}"));
    let other = run(&scenario, small(500, 10));
    assert_ne!(format!("{one:?}"), format!("{other:?}"));
}

#[test]
fn a_disk_that_forgets_what_it_called_durable_is_found_out() {
    let scenario = all(2_000).into_iter().find(|it| it.name == "restarts").unwrap();
    let lying = Run { honesty: Honesty::ForgetsTheLastMinute, ..small(2_000, 1) };
    run(&scenario, lying).unwrap_err();
}

#[test]
fn a_disk_that_forgets_a_halt_is_found_out() {
    let scenario = all(2_000).into_iter().find(|it| it.name == "broken-fifth").unwrap();
    let lying = Run { honesty: Honesty::ForgetsHalts, ..small(2_000, 1) };
    let broken = run(&scenario, lying).unwrap_err();
    assert!(broken.promise.contains("state: Running"), "what is stored still runs: {broken:?}");
}

#[test]
fn an_offer_that_is_made_before_it_is_written_is_found_out() {
    let scenario = all(300).into_iter().find(|it| it.name == "good").unwrap();
    let lying = Run { honesty: Honesty::WritesLater, ..small(300, 1) };
    let broken = run(&scenario, lying).unwrap_err();
    assert!(broken.promise.contains("was offered r-0, and what is stored is None"), "{broken:?}");
}

#[test]
fn a_release_that_silences_devices_gets_no_more_of_them_than_the_plan_risks() {
    let halted = check("silent");
    assert!(halted.harmed <= u64::from(Plan::default().risk), "{halted:?}");
}

fn crowd() -> impl Strategy<Value = Vec<(Nature, u32)>> {
    let natures = [
        Nature::NeverComes,
        Nature::NightsOnly,
        Nature::SlowLink,
        Nature::SaysHealthy,
        Nature::Backwards,
        Nature::Late,
        Nature::Nonsense,
        Nature::Everywhere,
        Nature::WrongClock,
        Nature::StubbornClock,
        Nature::Flapping,
        Nature::BrokenLink,
        Nature::PutsOff,
    ];
    prop::collection::vec((prop::sample::select(natures.to_vec()), 0_u32..300), 0..4)
}

fn planned() -> impl Strategy<Value = Planned> {
    let parts = (1_u8..3, 0_u64..4, 0_u8..3, 1_u32..20, prop::option::of(1_u32..10));
    parts.prop_map(|(image, hour, priority, risk, in_flight_max)| {
        let plan = Plan { priority, risk, in_flight_max, ..Plan::default() };
        Planned { starts: Starts::At(hour), ..Planned::new(image, plan) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    /// However devices behave, and whenever the server dies: only how it ends is not foreseen.
    #[test]
    fn the_engine_and_the_auditor_agree(
        crowd in crowd(),
        mut rollouts in prop::collection::vec(planned(), 1..3),
        broken in prop::sample::select(vec![0.0, 0.02, 0.3]),
        crash_every_h in 1_u64..6,
        seed in any::<u64>(),
    ) {
        rollouts.sort_by_key(|planned| match planned.starts {
            Starts::At(hour) => hour,
            Starts::BackFrom(_) => 0,
        });
        let scenario = Scenario {
            crowd,
            rollouts,
            broken: [0.0, broken, broken / 2.0],
            crash_every_h,
            disk_full_permille: 5,
            hours_max: 6,
            ..Scenario::new("random", "whatever comes")
        };
        let run_of = Run { audit_s: 600, ..small(40, seed) };
        if let Err(broken) = run(&scenario, run_of) {
            prop_assert!(broken.promise.contains("should have ended"), "{broken:?}");
        }
    }
}

#[test]
fn the_scenarios_end_as_they_should() {
    let halted = check("broken-fifth");
    assert_eq!(halted.ends, [State::Halted]);
    assert!(halted.harmed < 30, "{halted:?}");
}
