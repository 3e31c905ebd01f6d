//! A circuit run by both parties: garbled by the server, evaluated by the client.

use fusion_catalogue::garbled::{Circuit, LABEL_BYTES};
use fusion_ir::Party;
use fusion_ir::types::mask;
use rand_core::Rng;

use super::Ctx;
use super::gates::{Gate, Gates, Wire};
use crate::bits::Bits;
use crate::{Error, Kind};

/// Wires of the results from wires of the sums of shares, each lowest bit first.
pub(super) type Build<'b> = dyn Fn(&mut Gates, Vec<Vec<Wire>>) -> Vec<Vec<Wire>> + 'b;

/// Numbers of so many bits: one for every element.
pub(super) struct Number {
    pub values: Vec<u64>,
    pub bits: u8,
}

/// Runs a circuit on this party's shares of its operands: `build` makes the results' wires of the
/// sums' wires, each lowest bit first. Returns shares of the results, which have the given widths.
pub(super) fn run(
    ctx: &mut Ctx,
    circuit: &Circuit,
    operands: &[Number],
    widths: &[u8],
    build: &Build,
) -> Result<Vec<Vec<u64>>, Error> {
    let n = operands[0].values.len();
    let mut results = vec![Vec::with_capacity(n); widths.len()];
    for chunk in circuit.chunks(n) {
        let part: Vec<Number> = operands
            .iter()
            .map(|number| Number { values: number.values[chunk.clone()].to_vec(), bits: number.bits })
            .collect();
        let part = match ctx.party {
            Party::Client => evaluate(ctx, circuit, &part, widths, build)?,
            Party::Server => garble(ctx, circuit, &part, widths, build)?,
        };
        results.iter_mut().zip(part).for_each(|(result, part)| result.extend(part));
    }
    Ok(results)
}

fn evaluate(
    ctx: &mut Ctx,
    circuit: &Circuit,
    operands: &[Number],
    widths: &[u8],
    build: &Build,
) -> Result<Vec<Vec<u64>>, Error> {
    let n = operands[0].values.len();
    let total = n * circuit.share_bits;
    let mut pads = ctx.correlations.draw(&circuit.need(n))?;
    let own = planes(operands);
    let mut halves = [own.clone(), own];
    let mut words = [Vec::new(), Vec::new()];
    for (choices, words) in halves.iter_mut().zip(&mut words) {
        let (random, pads) = pads.receiving.words(total);
        *choices = choices.xor(&random);
        *words = pads;
    }
    let [mut flips, more] = halves;
    flips.extend(&more);
    ctx.channel.send(Kind::Comparison, flips.to_bytes())?;

    let message = ctx.channel.receive(Kind::Comparison, circuit.garbled_bytes(n) as usize)?;
    let (blocks, meanings) = message.split_at(message.len() - (n * circuit.result_bits).div_ceil(8));
    let meanings = Bits::from_bytes(meanings, n * circuit.result_bits)?;
    let mut blocks = blocks.as_chunks::<{ LABEL_BYTES as usize }>().0.iter().map(|block| u128::from_le_bytes(*block));
    let chosen = planes(operands);
    let received = words[0].iter().zip(&words[1]).map(|(low, high)| u128::from(*low) | u128::from(*high) << 64);
    // Where the bit is 1 the pad is of the other label, which was sent.
    let labels: Vec<u128> = received
        .zip(blocks.by_ref().take(total))
        .zip(chosen.iter())
        .map(|((pad, block), bit)| pad ^ block & u128::from(bit).wrapping_neg())
        .collect();
    let theirs: Vec<u128> = blocks.by_ref().take(n * (circuit.share_bits + circuit.result_bits)).collect();
    let received = blocks.collect::<Vec<u128>>();
    let gates = &mut Gates::new(Gate::Evaluate(&received), &mut ctx.state.hash, n);
    let outputs = assemble(gates, labels, theirs, operands, widths, build);
    let mut meanings = (0..circuit.result_bits).map(|i| meanings.slice(i * n, n));
    Ok(outputs.iter().map(|wires| decode(wires, n, &mut meanings)).collect())
}

fn garble(
    ctx: &mut Ctx,
    circuit: &Circuit,
    operands: &[Number],
    widths: &[u8],
    build: &Build,
) -> Result<Vec<Vec<u64>>, Error> {
    let n = operands[0].values.len();
    let total = n * circuit.share_bits;
    let mut pads = ctx.correlations.draw(&circuit.need(n))?;
    let flips = ctx.channel.receive(Kind::Comparison, circuit.choice_bytes(n) as usize)?;
    let flips = Bits::from_bytes(&flips, 2 * total)?;
    let mut block = || u128::from(ctx.state.rng.next_u64()) << 64 | u128::from(ctx.state.rng.next_u64());
    // The lowest bit of a label is its colour, and differs between both of a wire.
    let delta = block() | 1;

    // The client's zero labels are the pads that it gets for 0; the masked other labels are sent.
    let (mut zeros, mut blocks) = (vec![0u128; total], vec![0u128; total]);
    for half in 0..2 {
        let [first, second] = pads.sending.words(total);
        let flips = flips.slice(half * total, total);
        for (i, flip) in flips.iter().enumerate() {
            let swap = (first[i] ^ second[i]) & flip.wrapping_neg();
            zeros[i] |= u128::from(first[i] ^ swap) << (64 * half);
            blocks[i] |= u128::from(second[i] ^ swap) << (64 * half);
        }
    }
    blocks.iter_mut().zip(&zeros).for_each(|(block, zero)| *block ^= zero ^ delta);

    // Its own bits: shares, then masks.
    let masks: Vec<Number> = widths
        .iter()
        .map(|bits| Number { values: (0..n).map(|_| block() as u64 & mask(*bits)).collect(), bits: *bits })
        .collect();
    let mut own = planes(operands);
    own.extend(&planes(&masks));
    let own_zeros: Vec<u128> = (0..own.len()).map(|_| block()).collect();
    blocks.extend(own_zeros.iter().zip(own.iter()).map(|(zero, bit)| zero ^ delta & u128::from(bit).wrapping_neg()));

    let gates = &mut Gates::new(Gate::Garble(delta, Vec::new()), &mut ctx.state.hash, n);
    let outputs = assemble(gates, zeros, own_zeros, operands, widths, build);
    let mut message = Vec::with_capacity(circuit.garbled_bytes(n) as usize);
    blocks.iter().chain(gates.gates()).for_each(|block| message.extend_from_slice(&block.to_le_bytes()));
    let mut meanings = Bits::default();
    outputs.iter().flatten().for_each(|wire| meanings.extend(&wire.colours()));
    message.extend(meanings.to_bytes());
    ctx.channel.send(Kind::Comparison, message)?;
    let shares = |mask: Number| match mask.bits {
        1 => mask.values,
        bits => mask.values.into_iter().map(|value| value.wrapping_neg() & fusion_ir::types::mask(bits)).collect(),
    };
    Ok(masks.into_iter().map(shares).collect())
}

/// The circuit: sums of the shares, what `build` makes of them, and the masks added to that.
fn assemble(
    gates: &mut Gates,
    client: Vec<u128>,
    server: Vec<u128>,
    operands: &[Number],
    widths: &[u8],
    build: &Build,
) -> Vec<Vec<Wire>> {
    let n = operands[0].values.len();
    let wires = |labels: Vec<u128>| labels.chunks(n).map(|labels| Wire(labels.to_vec())).collect::<Vec<Wire>>();
    let (client, server) = (wires(client), wires(server));
    let (mut client, mut server) = (client.into_iter(), server.into_iter());
    let mut sums = Vec::with_capacity(operands.len());
    for operand in operands {
        let [own, theirs] =
            [&mut client, &mut server].map(|wires| wires.take(operand.bits.into()).collect::<Vec<Wire>>());
        sums.push(gates.add(&own, &theirs));
    }
    let results = build(gates, sums);
    let masked = results.iter().zip(widths).map(|(result, bits)| {
        let masks: Vec<Wire> = server.by_ref().take((*bits).into()).collect();
        gates.add(result, &masks)
    });
    masked.collect()
}

/// The bits of all numbers: number by number, bit by bit, lowest first.
fn planes(numbers: &[Number]) -> Bits {
    let mut planes = Bits::default();
    for Number { values, bits } in numbers {
        (0..*bits).for_each(|bit| planes.extend(&Bits::plane(values, bit)));
    }
    planes
}

/// The numbers that the active labels stand for.
fn decode(wires: &[Wire], n: usize, meanings: &mut impl Iterator<Item = Bits>) -> Vec<u64> {
    let mut values = vec![0; n];
    for (place, (wire, meaning)) in wires.iter().zip(meanings).enumerate() {
        let bits = wire.colours().xor(&meaning);
        values.iter_mut().zip(bits.iter()).for_each(|(value, bit)| *value |= bit << place);
    }
    values
}
