//! One LSTM layer, double precision, one thread: recurrust against rust-lstm 0.8.0.
//!
//! Both get the same weights and inputs; outputs and gradients are compared before anything is
//! timed. rust-lstm's own trainers don't carry gradients through time, so its cell's backward call
//! is chained by hand here. Each sample runs both, in turns; quoted is the median of the ratios.

use std::time::Instant;

use ndarray::Array2;
use recurrust::cells::{CellKind, Lstm};
use recurrust::engine::{Layout, Sequence};
use recurrust::interrupt::Interrupt;
use recurrust::layers::stack::{Directions, MergeMode, Naming, Stack, StackConfig};
use recurrust::lengths::Steps;
use recurrust::parameters::Parameters;
use recurrust::random::Ticket;
use rust_lstm::LSTMCell;

const SHAPES: [(usize, usize, usize, usize); 7] = [
    (1, 1, 8, 32),
    (50, 1, 8, 32),
    (100, 1, 16, 64),
    (100, 1, 128, 128),
    (50, 32, 8, 64),
    (50, 32, 64, 128),
    (20, 64, 128, 256),
];
const PAIRS: usize = 15;

struct Case {
    sizes: (usize, usize, usize, usize),
    stack: Stack<f64>,
    parameters: Parameters<f64>,
    cell: LSTMCell,
    x: Vec<f64>,
    columns: Vec<Array2<f64>>,
}

impl Case {
    fn new(sizes: (usize, usize, usize, usize)) -> Self {
        let (steps, rows, inputs, hidden) = sizes;
        let config = StackConfig {
            cell: CellKind::Lstm(Lstm),
            input_size: inputs,
            hidden_size: hidden,
            num_layers: 1,
            bias: true,
            directions: Directions::Forward,
            merge_mode: MergeMode::Concat,
            return_sequences: true,
            naming: Naming::Layers,
        };
        let (stack, parameters) = Stack::new(config, Ticket::seeded(1)).expect("fits");
        let mut cell = LSTMCell::new(inputs, hidden);
        {
            let reading = parameters.read();
            let matrix = |index: usize, columns: usize| {
                Array2::from_shape_vec((4 * hidden, columns), reading.slice(index).to_vec())
                    .expect("the shape fits")
            };
            cell.w_ih = matrix(0, inputs);
            cell.w_hh = matrix(1, hidden);
            cell.b_ih = matrix(2, 1);
            cell.b_hh = matrix(3, 1);
        }
        let x: Vec<f64> = (0..steps * rows * inputs)
            .map(|at| ((at * 37 % 101) as f64 / 50.5 - 1.0) * 0.9)
            .collect();
        let columns = x
            .chunks(rows * inputs)
            .map(|step| {
                Array2::from_shape_vec((rows, inputs), step.to_vec())
                    .expect("the shape fits")
                    .reversed_axes()
                    .as_standard_layout()
                    .to_owned()
            })
            .collect();
        Self {
            sizes,
            stack,
            parameters,
            cell,
            x,
            columns,
        }
    }

    fn input(&self) -> Sequence<'_, f64> {
        let (steps, rows, inputs, _) = self.sizes;
        Sequence::contiguous(&self.x, Layout::TimeMajor, (steps, rows, inputs))
    }

    fn ours_forward(&self) -> Vec<f64> {
        let (steps, rows, ..) = self.sizes;
        self.stack
            .forward(
                &self.parameters.read(),
                self.input(),
                &[],
                &Steps::dense(steps, rows),
                Layout::TimeMajor,
                &Interrupt::never(),
            )
            .expect("succeeds")
            .output
    }

    /// Gradients of the sum of all outputs with respect to the recurrent weights.
    fn ours_training(&self) -> Vec<f64> {
        let (steps, rows, _, hidden) = self.sizes;
        let reading = self.parameters.read();
        let (outcome, tape) = self
            .stack
            .forward_with_tape(
                &reading,
                self.input(),
                &[],
                Steps::dense(steps, rows),
                Layout::TimeMajor,
                &Interrupt::never(),
            )
            .expect("succeeds");
        let ones = vec![1.0; outcome.output.len()];
        let dy = Sequence::contiguous(&ones, Layout::TimeMajor, (steps, rows, hidden));
        let gradients = self
            .stack
            .backward(
                &reading,
                &self.parameters,
                &tape,
                Some(dy),
                &[],
                Some(Layout::TimeMajor),
                &Interrupt::never(),
            )
            .expect("succeeds");
        gradients.parameters.as_slice()[self.parameters.entries()[1].range()].to_vec()
    }

    fn theirs_forward(&mut self) -> Vec<Array2<f64>> {
        let (_, rows, _, hidden) = self.sizes;
        let mut h = Array2::zeros((hidden, rows));
        let mut c = Array2::zeros((hidden, rows));
        let mut outputs = Vec::new();
        for x in &self.columns {
            (h, c) = self.cell.forward_batch(x, &h, &c);
            outputs.push(h.clone());
        }
        outputs
    }

    fn theirs_training(&mut self) -> Array2<f64> {
        let (_, rows, _, hidden) = self.sizes;
        let mut h = Array2::zeros((hidden, rows));
        let mut c = Array2::zeros((hidden, rows));
        let mut caches = Vec::new();
        for x in &self.columns {
            let cache;
            (h, c, cache) = self.cell.forward_batch_with_cache(x, &h, &c);
            caches.push(cache);
        }
        let mut total = self.cell.zero_gradients();
        let mut dh = Array2::zeros((hidden, rows));
        let mut dc = Array2::zeros((hidden, rows));
        for cache in caches.iter().rev() {
            dh += 1.0;
            let (gradients, _, dh_previous, dc_previous) =
                self.cell.backward_batch(&dh, &dc, cache);
            total.w_ih += &gradients.w_ih;
            total.w_hh += &gradients.w_hh;
            total.b_ih += &gradients.b_ih;
            total.b_hh += &gradients.b_hh;
            (dh, dc) = (dh_previous, dc_previous);
        }
        total.w_hh
    }

    fn check(&mut self) {
        let (_, rows, _, hidden) = self.sizes;
        let ours = self.ours_forward();
        for (step, theirs) in self.theirs_forward().iter().enumerate() {
            for row in 0..rows {
                for unit in 0..hidden {
                    let difference =
                        ours[(step * rows + row) * hidden + unit] - theirs[[unit, row]];
                    assert!(difference.abs() < 1e-12, "outputs differ by {difference}");
                }
            }
        }
        let (ours, theirs) = (self.ours_training(), self.theirs_training());
        let largest = ours.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (a, b) in ours.iter().zip(theirs.iter()) {
            assert!((a - b).abs() <= 1e-12 * largest, "gradients differ: {a}, {b}");
        }
    }
}

/// Median of the ratios theirs / ours over pairs run in turns.
fn compare(case: &mut Case, ours: impl Fn(&Case), theirs: impl Fn(&mut Case)) -> f64 {
    let start = Instant::now();
    ours(case);
    theirs(case);
    let repeats = (0.01 / start.elapsed().as_secs_f64()).ceil() as usize;
    let mut ratios: Vec<f64> = (0..PAIRS)
        .map(|_| {
            let start = Instant::now();
            (0..repeats).for_each(|_| ours(case));
            let ours = start.elapsed();
            let start = Instant::now();
            (0..repeats).for_each(|_| theirs(case));
            start.elapsed().as_secs_f64() / ours.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[PAIRS / 2]
}

fn main() {
    println!("rust-lstm's time / recurrust's, float64, one thread: above 1 recurrust is faster\n");
    println!("{:>4} {:>3} {:>4} {:>4}  inference  training", "T", "B", "I", "H");
    for sizes in SHAPES {
        let mut case = Case::new(sizes);
        case.check();
        let inference = compare(
            &mut case,
            |case| drop(case.ours_forward()),
            |case| drop(case.theirs_forward()),
        );
        let training = compare(
            &mut case,
            |case| drop(case.ours_training()),
            |case| drop(case.theirs_training()),
        );
        let (steps, rows, inputs, hidden) = sizes;
        println!(
            "{steps:>4} {rows:>3} {inputs:>4} {hidden:>4}  {inference:>9.2}  {training:>8.2}"
        );
    }
}
