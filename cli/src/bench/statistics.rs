//! Numbers out of a few rounds: medians, spread, and how sure a ratio is.
//!
//! All of it goes by rank, not by a mean: a round that a scheduler spoilt counts no more than any other. With as few
//! rounds as here nothing can be assumed about how values are distributed, and nothing has to be.

use serde::Serialize;

/// The values of one contender in short.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// The middle value; of an even number the mean of the middle two.
    pub(crate) median: f64,
    /// The least value.
    pub(crate) min: f64,
    /// The greatest value.
    pub(crate) max: f64,
    /// Median of the distances to the median (MAD): the usual distance, whatever a single round did.
    pub(crate) deviation: f64,
}

impl Summary {
    /// Sums `values` up; `None` when there are none or one is not finite.
    pub(crate) fn of(values: &[f64]) -> Option<Summary> {
        let sorted = sorted(values)?;
        let median = middle(&sorted)?;
        let distances: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        Some(Summary {
            median,
            min: *sorted.first()?,
            max: *sorted.last()?,
            deviation: self::median(&distances)?,
        })
    }

    /// The usual distance to the median as a part of it: 0.1 is 10 %. Infinite for a median of 0.
    pub(crate) fn relative_deviation(&self) -> f64 {
        if self.deviation == 0.0 { 0.0 } else { self.deviation / self.median.abs() }
    }
}

/// How many times the baseline a contender makes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// Median by median.
    pub(crate) value: f64,
    /// Lower end of the interval.
    pub(crate) low: f64,
    /// Upper end of the interval.
    pub(crate) high: f64,
    /// How likely the interval holds the ratio that very many rounds would show: 0.9375 for five rounds.
    pub(crate) confidence: f64,
}

/// The least confidence of an interval that leaves out extremes: that of the whole range of five rounds.
const CONFIDENCE: f64 = 0.9375;

impl Ratio {
    /// The ratio of medians, with an interval from the ratios round by round (paired: what a round did to both
    /// contenders cancels out).
    ///
    /// The interval is that of the sign test (B. L. van der Waerden, 1952; W. J. Conover, Practical Nonparametric
    /// Statistics, §3.2): a round's ratio is as likely above as below the true median, so between the k-th least and
    /// the k-th greatest of n ratios it lies with probability 1 - 2 P(Binomial(n, 1/2) < k). k is the largest that
    /// keeps to [`CONFIDENCE`], at least 1: for five rounds the interval is the whole range. `None` unless both have
    /// equally many values, all of them finite and above zero.
    pub(crate) fn paired(contender: &[f64], baseline: &[f64]) -> Option<Ratio> {
        if contender.len() != baseline.len() || contender.iter().chain(baseline).any(|value| *value <= 0.0) {
            return None;
        }
        let value = median(contender)? / median(baseline)?;
        let ratios: Vec<f64> = contender.iter().zip(baseline).map(|(one, other)| one / other).collect();
        let ratios = sorted(&ratios)?;
        let (cut, confidence) = sign_test(ratios.len());
        // With extremes left out the ratio of medians need not lie among the ratios of rounds.
        let low = ratios.get(cut)?.min(value);
        let high = ratios.get(ratios.len() - 1 - cut)?.max(value);
        Some(Ratio { value, low, high, confidence })
    }
}

/// How many values to leave out at either end of `count`, and the confidence of what remains.
fn sign_test(count: usize) -> (usize, f64) {
    let mut best = (0, 0.0);
    // 2^-count * (n over k), from k = 0 up; powers of two are exact.
    let (mut term, mut below) = (0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX)), 0.0);
    for cut in 0..count.div_ceil(2) {
        below += term;
        let confidence = 1.0 - 2.0 * below;
        if cut > 0 && confidence < CONFIDENCE {
            break;
        }
        best = (cut, confidence.max(0.0));
        term *= (count - cut) as f64 / (cut + 1) as f64;
    }
    best
}

/// The middle value; of an even number the mean of the middle two. `None` when there are none or one is not finite.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    middle(&sorted(values)?)
}

/// How far values lie apart when this part of them is left out at either end, as a part of the median: with 0.1 the
/// distance between the 10th and the 90th percentile. What a disturbance did to fewer of them does not count, and
/// what it did to more of them counts in full. `None` when there are none, one is not finite, or the median is 0.
pub(crate) fn middle_spread(values: &[f64], left_out: f64) -> Option<f64> {
    let sorted = sorted(values)?;
    let median = middle(&sorted)?;
    let cut = (sorted.len() as f64 * left_out) as usize;
    let (low, high) = (sorted.get(cut)?, sorted.get(sorted.len() - 1 - cut)?);
    (median != 0.0).then(|| (high - low) / median.abs())
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[half - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn medians_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn summary_of_known_values() {
        // Distances to 5: 4 3 0 1 95; their median is 3.
        let summary = Summary::of(&[1.0, 100.0, 5.0, 2.0, 6.0]).expect("values");
        assert_eq!(summary, Summary { median: 5.0, min: 1.0, max: 100.0, deviation: 3.0 });
        assert_eq!(summary.relative_deviation(), 0.6);
        assert_eq!(Summary::of(&[0.0, 0.0]).expect("values").relative_deviation(), 0.0);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn intervals_are_those_of_published_tables() {
        // Confidence intervals for the median, Conover's table of the binomial with p = 1/2.
        assert_eq!(sign_test(1), (0, 0.0));
        assert_eq!(sign_test(3), (0, 0.75));
        assert_eq!(sign_test(5), (0, 0.9375));
        assert_eq!(sign_test(8), (0, 0.9921875));
        let (cut, confidence) = sign_test(9);
        assert_eq!((cut, confidence), (1, 1.0 - 2.0 * 10.0 / 512.0));
        let (cut, confidence) = sign_test(20);
        assert_eq!(cut, 5);
        assert!((confidence - 0.9586).abs() < 5e-5, "{confidence}");
    }

    #[test]
    fn ratio_of_known_rounds() {
        let ratio = Ratio::paired(&[20.0, 22.0, 21.0, 19.0, 23.0], &[10.0, 10.0, 12.0, 10.0, 11.0]);
        let ratio = ratio.expect("a ratio");
        assert_eq!(ratio, Ratio { value: 2.1, low: 1.75, high: 2.2, confidence: 0.9375 });
        assert_eq!(Ratio::paired(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(Ratio::paired(&[1.0], &[0.0]), None);
        assert_eq!(Ratio::paired(&[], &[]), None);
    }

    #[test]
    fn what_a_round_does_to_both_contenders_cancels_out() {
        // Every round is a different machine, but one contender is always 1.5 times the other.
        let baseline = [10.0, 80.0, 33.0, 2.0, 51.0];
        let ratio = Ratio::paired(&baseline.map(|value| value * 1.5), &baseline).expect("a ratio");
        assert_eq!((ratio.value, ratio.low, ratio.high), (1.5, 1.5, 1.5));
    }

    #[test]
    fn few_outliers_do_not_spread_the_middle() {
        let mut values = vec![2.0; 20];
        assert_eq!(middle_spread(&values, 0.1), Some(0.0));
        // Two of twenty were stopped: they are left out, as are the two least.
        values[3] = 9.0;
        values[11] = 5.0;
        assert_eq!(middle_spread(&values, 0.1), Some(0.0));
        // A third one is more than a tenth.
        values[12] = 3.0;
        assert_eq!(middle_spread(&values, 0.1), Some(0.5));
        assert_eq!(middle_spread(&[9.0, 11.0], 0.1), Some(0.2));
        assert_eq!([middle_spread(&[], 0.1), middle_spread(&[0.0], 0.1)], [None, None]);
    }

    #[test]
    fn a_cpu_that_is_shared_for_a_fifth_of_the_time_is_seen() {
        let even = |n: usize| 1.0 + (n % 5) as f64 * 0.01;
        let alone: Vec<f64> = (0..32).map(even).collect();
        let shared: Vec<f64> = (0..32).map(|n| even(n) * if n % 5 == 0 { 1.5 } else { 1.0 }).collect();
        let [alone, shared] = [alone, shared].map(|times| middle_spread(&times, 0.1).expect("times"));
        assert!(alone <= 0.05 && shared >= 0.4, "{alone} {shared}");
    }

    fn values(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(1e-3_f64..1e9, count)
    }

    proptest! {
        /// A median has as many values on one side as on the other, and order does not matter.
        #[test]
        fn a_median_is_in_the_middle(mut values in values(1..20)) {
            let median = median(&values).expect("values");
            let below = values.iter().filter(|value| **value < median).count();
            let above = values.iter().filter(|value| **value > median).count();
            prop_assert!(below <= values.len() / 2 && above <= values.len() / 2);
            let summary = Summary::of(&values);
            values.reverse();
            prop_assert_eq!(summary, Summary::of(&values));
            let summary = summary.expect("values");
            prop_assert!(summary.min <= summary.median && summary.median <= summary.max);
            prop_assert!(summary.deviation <= summary.max - summary.min);
        }

        /// The interval holds the ratio, and swapping the contenders turns all over.
        #[test]
        fn ratios_lie_in_their_interval((one, other) in (1_usize..20).prop_flat_map(|n| (values(n), values(n)))) {
            let ratio = Ratio::paired(&one, &other).expect("a ratio");
            prop_assert!(ratio.low <= ratio.value && ratio.value <= ratio.high);
            let turned = Ratio::paired(&other, &one).expect("a ratio");
            prop_assert!((turned.value * ratio.value - 1.0).abs() < 1e-9);
            prop_assert!((turned.low * ratio.high - 1.0).abs() < 1e-9);
            let same = Ratio::paired(&one, &one).expect("a ratio");
            prop_assert_eq!((same.value, same.low, same.high), (1.0, 1.0, 1.0));
        }

        /// Up to eight rounds nothing is left out, and then the ratio of medians lies in the range by itself.
        #[test]
        fn the_range_needs_no_widening((one, other) in (1_usize..=8).prop_flat_map(|n| (values(n), values(n)))) {
            let ratio = Ratio::paired(&one, &other).expect("a ratio");
            let rounds = one.iter().zip(&other).map(|(one, other)| one / other);
            let (low, high) = rounds.fold((f64::MAX, 0.0_f64), |(low, high), r| (low.min(r), high.max(r)));
            let slack = 1e-9 * ratio.value;
            prop_assert!((ratio.low - low).abs() <= slack && (ratio.high - high).abs() <= slack);
        }

        /// More rounds never make the interval less certain than the least asked for.
        #[test]
        fn intervals_are_as_certain_as_they_say(count in 5_usize..200) {
            let (cut, confidence) = sign_test(count);
            prop_assert!((CONFIDENCE..=1.0).contains(&confidence) && cut * 2 < count);
        }
    }
}
