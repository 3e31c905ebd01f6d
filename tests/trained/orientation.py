"""PP-OCR's trained orientation net (MobileNetV3, scale 0.35) through fusionc, on rendered lines of text.

The net is the file ch_ppocr_mobile_v2.0_cls_infer.onnx of the wheel rapidocr-onnxruntime 1.4.4 (Apache-2.0), which is
not in this repository. Lines are set in the DejaVu fonts, half of them upside down, in many colours, with blur and noise.
Fixed point must give float's label, as onnxruntime computes it, on at least 99 % of lines that it was not calibrated on.

    python3 -m venv target/trained
    target/trained/bin/pip install numpy pillow onnxruntime
    target/trained/bin/pip download --no-deps -d target/trained rapidocr-onnxruntime==1.4.4
    cargo build --release --bin fusionc
    target/trained/bin/python tests/trained/orientation.py target/trained/rapidocr_onnxruntime-1.4.4-py3-none-any.whl
"""
import argparse
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageFilter, ImageFont

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
HEIGHT, WIDTH = 48, 192
CALIBRATED = 32


def line(rng, fonts, words):
    dark, light = (tuple(int(c) for c in rng.integers(low, high, 3)) for low, high in [(0, 90), (150, 256)])
    ink, paper = (dark, light) if rng.random() < 0.75 else (light, dark)
    font = ImageFont.truetype(str(fonts[rng.integers(len(fonts))]), int(rng.integers(22, 40)))
    first = rng.integers(len(words) - 5)
    text = " ".join(words[first : first + rng.integers(1, 5)])
    left, top, right, bottom = font.getbbox(text)
    margin = int(rng.integers(1, 6))
    image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), paper)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=ink)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))
    pixels = np.asarray(image, np.float32)
    pixels = pixels + rng.normal(0, rng.uniform(0, 10), pixels.shape)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    turned = int(rng.random() < 0.5)
    return (image.rotate(180) if turned else image), turned


def as_input(image):
    width = min(WIDTH, max(1, round(HEIGHT * image.width / image.height)))
    pixels = np.asarray(image.resize((width, HEIGHT), Image.BILINEAR), np.float32) / 127.5 - 1
    padded = np.zeros((3, HEIGHT, WIDTH), np.float32)
    padded[:, :, :width] = pixels.transpose(2, 0, 1)
    return padded


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("--fusionc", default=ROOT / "target/release/fusionc")
    parser.add_argument("--fonts", type=pathlib.Path, default="/usr/share/fonts/truetype/dejavu")
    parser.add_argument("--samples", type=int, default=500)
    args = parser.parse_args()
    fonts = sorted(font for font in args.fonts.glob("*.ttf") if "Math" not in font.name)
    if not fonts:
        sys.exit(f"no fonts in {args.fonts}: name a folder of .ttf files with --fonts")
    words = [word for word in (ROOT / "README.md").read_text().split() if word.isascii()]
    out = ROOT / "target/trained-orientation"
    out.mkdir(parents=True, exist_ok=True)
    model = out / "model.onnx"
    model.write_bytes(zipfile.ZipFile(args.wheel).read(MODEL))
    rng = np.random.default_rng(5)
    drawn = [line(rng, fonts, words) for _ in range(CALIBRATED + args.samples)]
    inputs = np.stack([as_input(image) for image, _ in drawn])
    turned = np.array([turned for _, turned in drawn])
    session = onnxruntime.InferenceSession(str(model))
    name = session.get_inputs()[0].name
    float_labels = np.array([session.run(None, {name: x[None]})[0][0].argmax() for x in inputs])
    np.save(out / "calibrate.npy", inputs[:CALIBRATED])
    np.save(out / "input.npy", inputs[CALIBRATED:])
    plan, labels = out / "plan.bin", out / "labels.csv"
    run = lambda *command: subprocess.run([str(part) for part in (args.fusionc, *command)], check=True)
    shape = f"1,3,{HEIGHT},{WIDTH}"
    run("compile", model, "--input-shape", shape, "--calibrate", out / "calibrate.npy", "-o", plan)
    run("eval", plan, "--input", out / "input.npy", "-o", labels)
    fixed = np.loadtxt(labels, delimiter=",", skiprows=1, dtype=int)[:, 1]
    same = int((fixed == float_labels[CALIBRATED:]).sum())
    print(f"float is right about {(float_labels == turned).mean():.1%} of lines")
    print(f"fixed point has float's label for {same} of {len(fixed)} lines")
    if same < 0.99 * len(fixed):
        sys.exit("that is less than 99 %")


if __name__ == "__main__":
    main()
