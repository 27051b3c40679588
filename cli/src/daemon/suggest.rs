//! "Did you mean eth0?", for names of devices.

/// The names of this network namespace's devices.
pub(crate) fn device_names() -> Vec<String> {
    let mut names: Vec<String> = pnet_datalink::interfaces().into_iter().map(|device| device.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What may have been meant by `name`: one line, or nothing when there is no device besides the loopback.
pub(crate) fn suggestion(name: &str, known: &[String]) -> Option<String> {
    let known: Vec<&str> = known.iter().map(String::as_str).filter(|known| *known != "lo").collect();
    if known.is_empty() {
        return None;
    }
    let nearest = known.iter().map(|known| (distance(name, known), *known)).min()?;
    let list = known.join(", ");
    Some(match nearest {
        (distance, nearest) if distance <= name.len().div_ceil(3) => {
            format!("did you mean {nearest}? there are: {list}")
        }
        _ => format!("there are: {list}"),
    })
}

/// Letters to insert, delete or replace to get from one name to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_proposed() {
        let known = ["eth0", "eth1", "lo", "wlan0"].map(str::to_owned);
        let said = suggestion("et0", &known).expect("there are devices");
        assert_eq!(said, "did you mean eth0? there are: eth0, eth1, wlan0");
        assert_eq!(suggestion("enp3s0", &known).expect("there are"), "there are: eth0, eth1, wlan0");
        assert_eq!(suggestion("eth0", &["lo".to_owned()]), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }

    #[test]
    fn the_loopback_is_always_there() {
        assert!(device_names().contains(&"lo".to_owned()));
    }
}
