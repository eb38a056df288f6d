//! Random faults of the link and of all processes, with a publisher at full speed.

use std::time::{Duration, Instant};

use crate::full_or;
use crate::pair::Pair;
use crate::role::{Random, Writer};
use crate::table::{Checker, equal};

#[test]
fn random_faults_end_in_equal_tables() {
    let pair = Pair::new("soak");
    let mut writer = Writer::start(&pair.origin);
    let (mut exporter, mut importer) = (pair.export(), pair.import());
    pair.counts();
    let checker = Checker::start(&pair.copy);
    let mut random = Random::new();
    let (begun, mut faults) = (Instant::now(), [0; 10]);
    while begun.elapsed() < full_or(Duration::from_secs(60), Duration::from_secs(10)) {
        let fault = random.below(10);
        let time = Duration::from_millis(random.below(2000));
        match fault {
            0 => pair.proxy.cut(),
            1 => pair.proxy.refuse(),
            2 => pair.proxy.stall(),
            3 => pair.proxy.throttle(20_000 + random.below(1_000_000)),
            4 => pair.proxy.delay(random.below(50)),
            5 => exporter.stop(),
            6 => importer.stop(),
            7 => {
                writer.kill();
                std::thread::sleep(time);
                writer = Writer::start(&pair.origin);
            }
            8 => {
                exporter.kill();
                exporter = pair.export();
            }
            _ => {
                importer.kill();
                importer = pair.import();
            }
        }
        faults[fault as usize] += 1;
        std::thread::sleep(time);
        exporter.resume();
        importer.resume();
        pair.proxy.pass();
        pair.proxy.throttle(0);
        pair.proxy.delay(0);
        std::thread::sleep(Duration::from_millis(random.below(1000)));
    }
    pair.counts();
    let last = writer.pause();
    equal(&pair.origin, &pair.copy);
    let (_, versions) = checker.finish();
    println!("{versions} of {last} versions were read; faults: {faults:?}");
    importer.finish();
    pair.copy.is_removed();
    exporter.finish();
    writer.close();
    pair.origin.is_removed();
}
