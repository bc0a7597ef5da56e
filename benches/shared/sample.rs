//! Measured values, and what they come to.

/// Values of one unit, and how often there was none.
#[derive(Debug, Default, Clone)]
pub struct Sample {
    values: Vec<f64>,
    /// How often what was waited for did not happen.
    pub missed: usize,
}

impl Sample {
    /// One value alone.
    pub fn of(value: f64) -> Sample {
        Sample { values: vec![value], missed: 0 }
    }

    pub fn add(&mut self, value: f64) {
        self.values.push(value);
    }

    /// Adds milliseconds, or a miss.
    pub fn add_time(&mut self, nanoseconds: Option<i64>) {
        match nanoseconds {
            Some(nanoseconds) => self.values.push(nanoseconds as f64 / 1e6),
            None => self.missed += 1,
        }
    }

    pub fn count(&self) -> usize {
        self.values.len()
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1) as f64;
        sorted.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn p95(&self) -> f64 {
        self.quantile(0.95)
    }
}
