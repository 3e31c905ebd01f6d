//! INSECURE. The `toy` family: the client tells the server its share of the operand. It shows how
//! little a family must bring; SECURITY.md knows nothing of it.

use fusion_catalogue::compare::Nonlinear;
use fusion_catalogue::families::toy::{Comparisons, Layer, Products};
use fusion_catalogue::{Keys, SharedSetup};
use fusion_ir::interp;
use fusion_ir::types::{mask, signed, wrap};
use rand_core::Rng;

use super::{Place, Task};
use crate::{Error, Kind, bits, ot};

/// It keeps nothing.
pub(crate) struct Engine;

impl super::Engine for Engine {
    type Batch = ();
    type Layer = Layer;
    type Products = Products;
    type Comparisons = Comparisons;

    fn new(_: &[u8; 32]) -> Result<Engine, Error> {
        Ok(Engine)
    }

    fn set_up(&mut self, _: &mut Place<'_>, _: &SharedSetup, _: Keys) -> Result<(), Error> {
        Ok(())
    }

    fn begin(&mut self, _: &mut Place<'_>, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn linear(&mut self, place: &mut Place<'_>, (): &mut (), layer: &Layer, task: Task<'_>) -> Result<Vec<u64>, Error> {
        let Task { steps, id, weights, share, positions } = task;
        let (width, [up, down]) = (layer.0.acc_bits, layer.message_bytes(positions));
        let results = positions * layer.0.geometry.output_len();
        let Some(weights) = weights else {
            place.channel.send(Kind::LinearUpload, bits::pack(share, width))?;
            return bits::unpack(&place.channel.receive(Kind::LinearDownload, down as usize)?, results, width);
        };
        let theirs = bits::unpack(&place.channel.receive(Kind::LinearUpload, up as usize)?, share.len(), width)?;
        let sum = share.iter().zip(theirs).map(|(own, theirs)| signed(own.wrapping_add(theirs), width));
        let (operand, function) = (sum.collect::<Vec<i64>>(), steps.function());
        let (mut rng, value) = (ot::os_rng()?, function.value(id));
        let own: Vec<u64> = (0..results).map(|_| rng.next_u64() & mask(width)).collect();
        let position = |x: &[i64]| interp::apply(function, value, weights, &[x], &[]);
        let whole = operand.chunks(layer.0.geometry.input_len()).flat_map(position);
        let theirs: Vec<u64> =
            whole.zip(&own).map(|(y, own)| wrap(y, width).wrapping_sub(*own) & mask(width)).collect();
        place.channel.send(Kind::LinearDownload, bits::pack(&theirs, width))?;
        Ok(own)
    }

    fn product(
        &mut self,
        _: &mut Place<'_>,
        (): &mut (),
        products: &Products,
        _: [&[u64]; 2],
        _: usize,
    ) -> Result<Vec<u64>, Error> {
        match *products {}
    }

    fn compare(
        &mut self,
        _: &mut Place<'_>,
        by: &Comparisons,
        _: &Nonlinear,
        _: &[&[u64]],
        _: usize,
    ) -> Result<Vec<u64>, Error> {
        match *by {}
    }
}
