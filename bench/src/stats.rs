//! Medians and their bounds, from few and skewed samples.
//!
//! Windows on a shared machine are not normally distributed, so nothing here assumes that they are: the
//! figure is the median, and its 95% bounds come from resampling.

use serde::Serialize;

/// Resamples of one bootstrap. More would move the bounds by less than they are worth.
const RESAMPLES: usize = 10_000;

/// A median with the bounds of its 95% bootstrap interval, in the unit of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Estimate {
    /// Median of the samples.
    pub(crate) median: f64,
    /// Lower 95% bound of the median.
    pub(crate) lo95: f64,
    /// Upper 95% bound of the median.
    pub(crate) hi95: f64,
    /// Number of samples.
    pub(crate) samples: usize,
}

impl Estimate {
    /// Median and bounds of `samples`; `None` without samples.
    ///
    /// The random numbers are seeded with a constant, so the same samples give the same bounds.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let middle = median(samples)?;
        let mut random = SplitMix64::new(0x0068_6169_7274_7269);
        let mut resample = vec![0.0; samples.len()];
        let mut medians = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            for value in &mut resample {
                *value = samples[random.below(samples.len())];
            }
            medians.push(median_in_place(&mut resample)?);
        }
        medians.sort_unstable_by(f64::total_cmp);
        // 2.5% of the resampled medians lie beyond either bound.
        let tail = RESAMPLES / 40;
        Some(Self {
            median: middle,
            lo95: medians[tail],
            hi95: medians[RESAMPLES - 1 - tail],
            samples: samples.len(),
        })
    }

    /// Median and bounds of `numerators[i] / denominators[i]`: two servers compared round by round, so
    /// that what disturbs a whole round cancels out. `None` if there are no pairs.
    pub(crate) fn of_ratios(numerators: &[f64], denominators: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> =
            numerators.iter().zip(denominators).map(|(above, below)| above / below).collect();
        Self::of(&ratios)
    }
}

/// The median of `samples`: for an even number of them the mean of the middle two, `None` without any.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    median_in_place(&mut samples.to_vec())
}

/// The value below which `share` (0 to 1) of `samples` lie: the nearest rank, `None` without any.
pub(crate) fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    // Far below 2^52 samples, and a share of them is no more.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

fn median_in_place(samples: &mut [f64]) -> Option<f64> {
    let (half, odd) = (samples.len() / 2, samples.len() % 2 == 1);
    if samples.is_empty() {
        return None;
    }
    let (below, &mut upper, _) = samples.select_nth_unstable_by(half, f64::total_cmp);
    if odd {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    Some(f64::midpoint(lower, upper))
}

/// A small, fast generator of random numbers; good enough to choose samples with, no more.
#[derive(Debug)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator whose numbers follow from `seed` alone.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Puts `items` into a random order; every order is as likely as any other.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A number from 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).expect("32 bits");
        f64::from(bits) / f64::from(u32::MAX)
    }

    /// A number from an exponential distribution with the mean 1: the time to the next of events that do not know of
    /// each other.
    pub(crate) fn exponential(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).expect("32 bits");
        // Never 0, of which there is no logarithm.
        -((f64::from(bits) + 0.5) / (f64::from(u32::MAX) + 1.0)).ln()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is small: the bias of the multiplication is below 2⁻³² for it.
    fn below(&mut self, bound: usize) -> usize {
        let scaled = (u128::from(self.next()) * bound as u128) >> 64;
        usize::try_from(scaled).expect("a number below a usize is a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 6.0]), Some(5.5));
    }

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&samples, 0.99), Some(99.0));
        assert_eq!((quantile(&samples, 0.0), quantile(&samples, 1.0)), (Some(1.0), Some(100.0)));
        assert_eq!((quantile(&[7.0], 0.99), quantile(&[], 0.5)), (Some(7.0), None));
    }

    #[test]
    fn bounds_enclose_the_median_and_ignore_one_outlier() {
        let mut samples: Vec<f64> = (0..21).map(|step| 1.0 + f64::from(step) / 100.0).collect();
        samples.push(50.0);
        let estimate = Estimate::of(&samples).expect("there are samples");
        assert!((estimate.median - 1.105).abs() < 1e-9, "{estimate:?}");
        assert!(estimate.lo95 > 1.0 && estimate.lo95 < estimate.median, "{estimate:?}");
        assert!(estimate.hi95 < 1.25 && estimate.hi95 > estimate.median, "{estimate:?}");
    }

    #[test]
    fn bounds_cover_the_true_median_about_as_often_as_they_say() {
        // 400 experiments of 15 samples from a skewed distribution whose median is ln 2.
        let mut random = SplitMix64::new(1);
        let mut covered = 0;
        for _ in 0..400 {
            let samples: Vec<f64> = (0..15).map(|_| random.exponential()).collect();
            let estimate = Estimate::of(&samples).expect("there are samples");
            covered += u32::from((estimate.lo95..=estimate.hi95).contains(&std::f64::consts::LN_2));
        }
        assert!((360..=396).contains(&covered), "{covered} of 400");
    }

    #[test]
    fn the_same_samples_give_the_same_bounds_and_equal_samples_give_none_at_all() {
        let samples = [3.0, 1.0, 4.0, 1.0, 5.0];
        assert_eq!(Estimate::of(&samples), Estimate::of(&samples));
        let constant = Estimate::of(&[2.0; 11]).expect("there are samples");
        assert_eq!((constant.lo95, constant.median, constant.hi95), (2.0, 2.0, 2.0));
    }

    #[test]
    fn every_order_is_about_as_likely() {
        let mut random = SplitMix64::new(7);
        let mut seen = std::collections::BTreeMap::<[u8; 3], u32>::new();
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            *seen.entry(items).or_default() += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|count| (850..1_150).contains(count)), "{seen:?}");
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        // The machine is twice as slow in the second round; the ratio does not notice.
        let estimate = Estimate::of_ratios(&[9.0, 18.0, 9.0], &[10.0, 20.0, 10.0]).expect("pairs");
        assert_eq!((estimate.lo95, estimate.median, estimate.hi95), (0.9, 0.9, 0.9));
    }
}
