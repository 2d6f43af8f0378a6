//! Trees of files as kernels show them, and what is made of them.

use super::fixture::Machine;
use super::*;

/// A kind of sensor with its domains.
type Kind = (Rung, Vec<String>);
/// What was looked for in vain, and the code of why.
type Missing = (&'static str, &'static str);

fn found(machine: &Machine) -> (Vec<Kind>, Vec<Missing>) {
    let found = find(machine.root(), "GenuineIntel");
    let describe = |sensor: &SensorDescription| (sensor.rung, sensor.domains.clone());
    let missing = found.missing.iter().map(|(name, error)| (*name, error.code())).collect();
    (found.sensors.iter().map(|sensor| describe(sensor.description())).collect(), missing)
}

fn read(machine: &Machine, rung: Rung) -> Result<Reading, SensorError> {
    let found = find(machine.root(), "GenuineIntel");
    let sensor = found.sensors.into_iter().find(|sensor| sensor.description().rung == rung);
    sensor.expect("there is one").read()
}

fn joules(reading: &Reading) -> f64 {
    match reading {
        Reading::Counters(counters) => counters.iter().map(|counter| counter.energy).sum::<Nanojoules>().joules(),
        Reading::Power(power) => panic!("{power:?} is no energy"),
    }
}

fn code(result: Result<Reading, SensorError>) -> &'static str {
    result.expect_err("it is refused").code()
}

#[test]
fn a_machine_without_sensors_says_so() {
    let (sensors, missing) = found(&Machine::new());
    assert_eq!(sensors, []);
    let absent: Vec<_> = missing.into_iter().filter(|(name, _)| *name != "graphics cards").collect();
    let names = ["wall meter", "RAPL by powercap", "RAPL by perf events", "battery"];
    assert_eq!(absent, names.map(|name| (name, "absent")));
}

#[test]
fn two_sockets_are_summed_and_parts_of_packages_are_not() {
    let machine = Machine::new();
    machine.zone("intel-rapl:0", "package-0", 1_000_000).zone("intel-rapl:0:0", "core", 900_000);
    machine.zone("intel-rapl:0:1", "dram", 200_000).zone("intel-rapl:1", "package-1", 3_000_000);
    machine.zone("intel-rapl:1:0", "dram", 400_000).zone("intel-rapl-mmio:0", "package-0", 1_000_000);
    machine.put("sys/class/powercap/intel-rapl", &[("enabled", "1")]);
    machine.put("sys/class/powercap/intel-rapl:0", &[("constraint_0_max_power_uw", "125000000")]);
    machine.put("sys/class/powercap/intel-rapl:1", &[("constraint_0_max_power_uw", "125000000")]);
    let (sensors, _) = found(&machine);
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
    let both = names(&["package-0", "package-1", "dram", "dram"]);
    let expected = [(Rung::RaplPackagesAndMemory, both), (Rung::RaplPackages, names(&["package-0", "package-1"]))];
    assert_eq!(sensors, expected);
    assert_eq!(joules(&read(&machine, Rung::RaplPackagesAndMemory).unwrap()), 4.6);
    assert_eq!(joules(&read(&machine, Rung::RaplPackages).unwrap()), 4.0);
    let sensors = find(machine.root(), "GenuineIntel").sensors;
    assert!(sensors.iter().all(|sensor| sensor.description().rated_power == Some(Microwatts::new(250_000_000))));
}

#[test]
fn the_platform_is_a_rung_of_its_own_and_never_a_summand() {
    let machine = Machine::new();
    machine.zone("intel-rapl:0", "package-0", 1_000_000).zone("intel-rapl:1", "psys", 9_000_000);
    let kinds: Vec<Rung> = found(&machine).0.into_iter().map(|(rung, _)| rung).collect();
    assert_eq!(kinds, [Rung::RaplPlatform, Rung::RaplPackages]);
    assert_eq!(joules(&read(&machine, Rung::RaplPlatform).unwrap()), 9.0);
    machine.zone("intel-rapl:2", "psys", 9_000_000);
    let kinds: Vec<Rung> = found(&machine).0.into_iter().map(|(rung, _)| rung).collect();
    assert_eq!(kinds, [Rung::RaplPackages], "of two platforms nothing tells whether one is in the other");
}

#[test]
fn the_second_way_to_the_packages_is_used_where_it_is_the_only_one() {
    let machine = Machine::new();
    machine.zone("intel-rapl-mmio:0", "package-0", 7_000_000);
    assert_eq!(joules(&read(&machine, Rung::RaplPackages).unwrap()), 7.0);
}

#[test]
fn amd_counts_half_as_exactly() {
    let machine = Machine::new();
    machine.zone("intel-rapl:0", "package-0", 1);
    for (vendor, uncertainty) in [("AuthenticAMD", 0.2), ("GenuineIntel", 0.1)] {
        let found = find(machine.root(), vendor);
        assert_eq!(found.sensors[0].description().relative_uncertainty, uncertainty);
    }
}

#[test]
fn nonsense_in_a_counter_is_an_error() {
    let machine = Machine::new();
    machine.zone("intel-rapl:0", "package-0", 1);
    let long = "9".repeat(10_000);
    for text in ["", "-1", "1.5", "abc", "18446744073709551615", "99999999999999999999", &long, "\u{0}\u{0}"] {
        machine.put("sys/class/powercap/intel-rapl:0", &[("energy_uj", text)]);
        assert_eq!(code(read(&machine, Rung::RaplPackages)), "malformed", "{text:.40}");
    }
    machine.put("sys/class/powercap/intel-rapl:0", &[("energy_uj", "1"), ("max_energy_range_uj", "0")]);
    assert!(found(&machine).1.contains(&("RAPL by powercap", "malformed")), "a counter without a range");
    machine.zone("intel-rapl:0", "package-0", 1).remove("sys/class/powercap/intel-rapl:0/energy_uj");
    assert_eq!(code(read(&machine, Rung::RaplPackages)), "absent");
}

#[test]
fn the_kernels_refusals_are_told_apart() {
    let place = Path::new("/sys/class/powercap/intel-rapl:0/energy_uj");
    for (number, expected) in
        [(13, "denied"), (1, "denied"), (19, "vanished"), (6, "vanished"), (2, "absent"), (5, "unreadable")]
    {
        let error = files::failure(place, std::io::Error::from_raw_os_error(number));
        assert_eq!(error.code(), expected, "{error}");
    }
    let denied = files::failure(place, std::io::Error::from_raw_os_error(13)).to_string();
    assert!(denied.contains("intel-rapl:0") && denied.contains("may not be read"), "{denied}");
    let denied = powercap::for_root(files::failure(place, std::io::Error::from_raw_os_error(13))).to_string();
    assert!(denied.contains("for root alone"), "{denied}");
}

#[test]
fn wall_meters_are_those_of_the_machine() {
    let machine = Machine::new();
    machine.put("sys/class/hwmon/hwmon0", &[("name", "amdgpu"), ("power1_average", "30000000")]);
    machine.put("sys/class/hwmon/hwmon1", &[("name", "aematic"), ("power1_average", "30000000")]);
    assert!(found(&machine).1.contains(&("wall meter", "absent")));
    // ACPI's driver keeps its attributes with the device.
    machine.put("sys/class/hwmon/hwmon2/device", &[("name", "power_meter"), ("power1_average", "213000000")]);
    assert_eq!(read(&machine, Rung::WallMeter).unwrap(), Reading::Power(Microwatts::new(213_000_000)));
    machine.put("sys/class/hwmon/hwmon3", &[("name", "aem0"), ("energy1_input", "5"), ("power1_average", "1")]);
    assert!(found(&machine).1.contains(&("wall meter", "ambiguous")));
    machine.remove("sys/class/hwmon/hwmon2/device/name");
    assert_eq!(joules(&read(&machine, Rung::WallMeter).unwrap()), 5e-6);
}

#[test]
fn batteries_count_while_they_are_all_there_is() {
    let machine = Machine::new();
    let battery = "sys/class/power_supply/BAT0";
    machine.put("sys/class/power_supply/mouse", &[("type", "Battery"), ("scope", "Device"), ("power_now", "1")]);
    assert!(found(&machine).1.contains(&("battery", "absent")), "a mouse is not the machine");
    machine.put(battery, &[("type", "Battery"), ("status", "Discharging"), ("power_now", "22543000")]);
    let watts = |machine: &Machine| match read(machine, Rung::Battery) {
        Ok(Reading::Power(power)) => power.watts(),
        other => panic!("{other:?}"),
    };
    assert_eq!(watts(&machine), 22.543);
    machine.remove("sys/class/power_supply/BAT0/power_now");
    machine.put(battery, &[("current_now", "-2000000"), ("voltage_now", "11705000")]);
    assert_eq!(watts(&machine), 23.41, "what flows out may be negative");
    machine.put("sys/class/power_supply/BAT1", &[("type", "Battery"), ("status", "Not charging")]);
    assert_eq!(watts(&machine), 23.41, "the other one rests");
    machine.put("sys/class/power_supply/AC", &[("type", "Mains"), ("online", "1")]);
    assert_eq!(code(read(&machine, Rung::Battery)), "not_discharging");
    machine.put("sys/class/power_supply/AC", &[("online", "0")]);
    for status in ["Charging", "Full", "Unknown", "Not charging", ""] {
        machine.put(battery, &[("status", status)]);
        assert_eq!(code(read(&machine, Rung::Battery)), "not_discharging", "{status}");
    }
}

/// Events that were opened: what each counted.
struct Counted(Result<u64, i32>);

impl perf::Count for Counted {
    fn count(&mut self) -> std::io::Result<u64> {
        self.0.map_err(std::io::Error::from_raw_os_error)
    }
}

fn event(machine: &Machine, name: &str, scale: &str, unit: &str) {
    let (scale_file, unit_file) = (format!("{name}.scale"), format!("{name}.unit"));
    let files = [(name, "event=0x02"), (scale_file.as_str(), scale), (unit_file.as_str(), unit)];
    machine.put("sys/bus/event_source/devices/power/events", &files);
}

const TWO_TO_THE_MINUS_32: &str = "2.3283064365386962890625e-10";

#[test]
fn events_are_opened_once_on_each_socket_and_scaled() {
    let machine = Machine::new();
    machine.put("sys/bus/event_source/devices/power", &[("cpumask", "0,18"), ("type", "20")]);
    event(&machine, "energy-pkg", TWO_TO_THE_MINUS_32, "Joules");
    let open = |_: &str, cpu: usize| -> Result<Box<dyn perf::Count>, SensorError> {
        Ok(Box::new(Counted(Ok((cpu as u64 + 1) << 32))))
    };
    let mut sensors = perf::find(machine.root(), 0.1, &open).unwrap();
    assert_eq!(sensors[0].description().domains, ["energy-pkg of cpu 0", "energy-pkg of cpu 18"]);
    assert_eq!(joules(&sensors[0].read().unwrap()), 20.0);
    let gone = |_: &str, _: usize| -> Result<Box<dyn perf::Count>, SensorError> { Ok(Box::new(Counted(Err(19)))) };
    let mut sensors = perf::find(machine.root(), 0.1, &gone).unwrap();
    assert_eq!(code(sensors[0].read()), "vanished");
    for (scale, unit) in [("1e-10", "Watts"), ("-1", "Joules"), ("nan", "Joules"), ("0", "Joules"), ("", "Joules")] {
        event(&machine, "energy-pkg", scale, unit);
        assert_eq!(
            perf::find(machine.root(), 0.1, &open).err().map(|error| error.code()),
            Some("malformed"),
            "{scale}"
        );
    }
}

#[test]
fn processors_are_listed_as_the_kernel_does() {
    let machine = Machine::new();
    event(&machine, "energy-pkg", TWO_TO_THE_MINUS_32, "Joules");
    let open =
        |_: &str, cpu: usize| -> Result<Box<dyn perf::Count>, SensorError> { Ok(Box::new(Counted(Ok(cpu as u64)))) };
    for (list, sockets) in [("0", Some(1)), ("0-3,7", Some(5)), ("0-99999999999", Some(256)), ("", None), ("0,x", None)]
    {
        machine.put("sys/bus/event_source/devices/power", &[("cpumask", list)]);
        let sensors = perf::find(machine.root(), 0.1, &open).ok();
        assert_eq!(sensors.map(|sensors| sensors[0].description().domains.len()), sockets, "{list}");
    }
}

#[cfg(not(feature = "perf"))]
#[test]
fn events_that_this_build_cannot_open_are_told_of() {
    let machine = Machine::new();
    machine.put("sys/bus/event_source/devices/power", &[("cpumask", "0")]);
    event(&machine, "energy-psys", TWO_TO_THE_MINUS_32, "Joules");
    assert!(found(&machine).1.contains(&("RAPL by perf events", "not_built")));
}

#[test]
fn work_of_the_host_is_read_from_the_kernels_ticks() {
    let machine = Machine::new();
    assert_eq!(busy_cpu(machine.root()).unwrap_err().code(), "absent");
    machine.put("proc", &[("stat", "cpu  10 20 30 4000 500 6 7 80 9 1\ncpu0 10 20 30 4000 500 6 7 80 9 1\n")]);
    assert_eq!(busy_cpu(machine.root()).unwrap(), crate::units::Nanos::new(730_000_000));
    for text in ["", "cpu", "cpu 1 2 3 4 5 6", "cpu0 1 2 3 4 5 6 7", "cpu 1 2 3 4 5 6 x", "intr 1 2 3 4 5 6 7 8"] {
        machine.put("proc", &[("stat", text)]);
        assert_eq!(busy_cpu(machine.root()).unwrap_err().code(), "malformed", "{text}");
    }
}
