"""What the figure wears, and the shoulders in it. Painted once, over the neck, on a `Canvas`."""

from __future__ import annotations

import numpy as np

from avatar.puppet.brush import Canvas, Line, Mask, Rgb, curve, mirrored, mix, rgb, scaled, shifted, symmetrical
from avatar.puppet.head import circle
from avatar.puppet.look import Look
from avatar.puppet.scene import SHOULDERS, WHITE, shoulders

SHADE: Rgb = (0.48, 0.46, 0.58)
NECKLINES = {
    "crew": [(0.5, 0.872), (0.548, 0.862), (0.590, 0.832), (0.606, 0.803)],
    "hoodie": [(0.5, 0.885), (0.548, 0.868), (0.596, 0.834), (0.610, 0.805)],
    "dress": [(0.5, 0.975), (0.56, 0.962), (0.64, 0.925), (0.712, 0.880), (0.742, 0.842)],
    "turtleneck": [(0.5, 0.757), (0.54, 0.753), (0.575, 0.741), (0.59, 0.728)],
}


def clothes(canvas: Canvas, look: Look) -> None:
    """Shoulders and what they wear; the neck is painted before."""
    fabric, body = rgb(look.fabric), shoulders(canvas)
    if look.clothes == "blazer":
        _top(canvas, rgb(look.top))
        _open_front(canvas, fabric, body, look, knitted=False)
        return
    if look.clothes == "cardigan":
        _shirt(canvas, rgb(look.top))
        _open_front(canvas, fabric, body, look, knitted=True)
        return
    collar = curve(NECKLINES[look.clothes], closed=False)
    if look.clothes == "dress":
        edge = [(0.770, 0.838), (0.83, 0.862), (0.872, 0.893), (0.915, 0.955), (0.945, 1.06)]
        _bare_shoulders(canvas, look, body)
        outline = symmetrical(np.vstack([collar, curve(edge, closed=False)]))
    else:
        outline = symmetrical(np.vstack([collar, curve(SHOULDERS[2:-1], closed=False)]))
    garment = canvas.fill(outline)
    if look.clothes == "turtleneck":
        garment = np.maximum(garment, body)
    thrown = canvas.blurred(canvas.moved(garment, 0.004, -0.010), 0.008) * (1.0 - garment) * body
    canvas.shade(thrown, (0.70, 0.50, 0.50), 0.6)
    canvas.paint(garment, fabric)
    _form(canvas, garment, fabric, look)
    whole = np.vstack([mirrored(collar)[::-1], collar[1:]])
    match look.clothes:
        case "turtleneck":
            _knit(canvas, garment, 0.30)
            _turtleneck(canvas, fabric)
        case "dress":
            _satin(canvas, garment, whole, fabric)
            _necklace(canvas, look)
        case _:
            _knit(canvas, garment, 0.22)
            width = 0.024 if look.clothes == "crew" else 0.05
            shape = canvas.stroke(whole, [width] * 3) * garment
            canvas.paint(shape, scaled(fabric, 1.08, 1.08, 1.08))
            canvas.shade(canvas.hollow(shape, 0.005, -0.001, -0.006), SHADE, 0.6)
            if look.clothes == "hoodie":
                _cords(canvas, fabric)


def _form(canvas: Canvas, garment: Mask, fabric: Rgb, look: Look) -> None:
    """Shoulders that turn from the light, creases, and the light from behind, on any fabric."""
    pale = mix(fabric, WHITE, 0.5)
    canvas.shade(garment * canvas.ramp((0.5, 0.84), (0.55, 1.10)), SHADE, 0.60)
    canvas.shade(garment * canvas.ramp((0.46, 0.9), (0.98, 0.94)), SHADE, 0.62)
    canvas.light(garment * canvas.spot(0.235, 0.880, 0.10, 0.030, -0.42), pale, 0.30)
    canvas.light(garment * canvas.spot(0.40, 0.905, 0.06, 0.05), pale, 0.10)
    creases = [
        ([(0.225, 0.900), (0.250, 0.95), (0.262, 1.02)], 0.013),
        ([(0.300, 0.905), (0.330, 0.955), (0.342, 1.02)], 0.010),
        ([(0.165, 0.945), (0.190, 0.975), (0.200, 1.02)], 0.009),
    ]  # fmt: skip
    creases += [([(1.0 - x, y) for x, y in points], width) for points, width in creases]
    for points, width in creases:
        line = curve(points, closed=False)
        canvas.shade(garment * canvas.stroke(line, [0.0, width, width * 0.6], 0.005), SHADE, 0.38)
        canvas.light(garment * canvas.stroke(shifted(line, -0.011, 0.0), [0.0, width * 0.7, 0.0], 0.004), pale, 0.14)
    inner = canvas.hollow(garment, 0.009, -0.010, 0.010)
    canvas.light(inner * canvas.ramp((0.60, 0.8), (0.72, 0.86)), rgb(look.light), 0.28 * look.rim)
    crisp = canvas.hollow(garment, 0.0028, -0.0030, 0.0034)
    canvas.light(crisp * canvas.ramp((0.62, 0.8), (0.72, 0.84)), rgb(look.light), 0.75 * look.rim)


def _weave(canvas: Canvas, mask: Mask, strength: float) -> None:
    """The grain of woven cloth."""
    grain = np.random.default_rng(13).random(mask.shape).astype(np.float32)
    across = canvas.blurred(grain, 0.0007) - 0.5
    canvas.shade(mask * np.clip(3.0 * across, 0.0, 1.0), SHADE, strength)


def _knit(canvas: Canvas, mask: Mask, strength: float) -> None:
    """Rows of small stitches that follow the shoulders."""
    fall = canvas.y - np.float32(0.24) * np.abs(canvas.x - np.float32(0.5))
    rows = 0.5 + 0.5 * np.sin(fall * np.float32(2 * np.pi / 0.0095))
    columns = 0.5 + 0.5 * np.sin(canvas.x * np.float32(2 * np.pi / 0.0080) + 2.2 * rows)
    canvas.shade(mask * np.asarray(rows * columns, np.float32), SHADE, strength)


def _top(canvas: Canvas, top: Rgb) -> None:
    neckline = curve([(0.5, 0.892), (0.538, 0.880), (0.578, 0.848), (0.608, 0.800), (0.625, 0.770)], closed=False)
    whole = np.vstack([mirrored(neckline)[::-1], neckline[1:]])
    shirt = canvas.fill(np.vstack([whole, [(0.66, 1.05), (0.34, 1.05)]])) * shoulders(canvas)
    canvas.shade(canvas.blurred(canvas.moved(shirt, 0.002, -0.008), 0.008) * (1.0 - shirt), (0.72, 0.52, 0.50), 0.55)
    canvas.paint(shirt, top)
    canvas.shade(shirt * canvas.ramp((0.45, 0.88), (0.62, 0.98)), (0.74, 0.70, 0.78), 0.75)
    canvas.light(canvas.stroke(shifted(whole, 0.0, 0.005), [0.004] * 2, 0.0018) * shirt, WHITE, 0.45)
    canvas.shade(canvas.stroke(shifted(whole, 0.0, 0.0115), [0.002] * 2, 0.001) * shirt, (0.72, 0.68, 0.72), 0.6)
    for x, lean in ((0.468, 0.010), (0.532, -0.012), (0.502, 0.004)):
        line = curve([(x, 0.905), (x + lean, 0.95), (x, 1.02)], closed=False)
        canvas.shade(canvas.stroke(line, [0.0, 0.012, 0.006], 0.006) * shirt, (0.80, 0.76, 0.82), 0.6)


def _shirt(canvas: Canvas, top: Rgb) -> None:
    """A shirt with a collar, its first button open."""
    body = canvas.fill([(0.395, 0.79), (0.5, 0.905), (0.605, 0.79), (0.70, 1.06), (0.30, 1.06)])
    canvas.paint(body, top)
    canvas.shade(body * canvas.ramp((0.45, 0.88), (0.64, 0.96)), (0.72, 0.70, 0.80), 0.8)
    canvas.shade(canvas.stroke([(0.503, 0.905), (0.505, 1.05)], [0.0022, 0.0022], 0.0008) * body, SHADE, 0.6)
    for y in (0.94, 0.99):
        canvas.paint(canvas.fill(circle(0.4955, y, 0.0046)), mix(top, (0.45, 0.40, 0.40), 0.35))
        canvas.light(canvas.spot(0.4945, y - 0.0015, 0.0014), WHITE, 0.7)
    wing = [(0.590, 0.752), (0.612, 0.790), (0.614, 0.842), (0.566, 0.913), (0.516, 0.884), (0.548, 0.858),
            (0.580, 0.812)]  # fmt: skip
    for side in (1, -1):
        shape = canvas.fill(np.array(wing) if side > 0 else mirrored(wing))
        canvas.shade(canvas.blurred(canvas.moved(shape, 0.004, 0.008), 0.007) * (1.0 - shape), SHADE, 0.55)
        canvas.paint(shape, scaled(top, 1.03, 1.03, 1.03))
        canvas.shade(shape * canvas.ramp((0.45, 0.80), (0.66, 0.90)), (0.74, 0.72, 0.82), 0.7)
        canvas.shade(canvas.hollow(shape, 0.004, 0.001 * side, -0.003), SHADE, 0.35)


def _open_front(canvas: Canvas, fabric: Rgb, body: Mask, look: Look, knitted: bool) -> None:
    """Two fronts over a top: a blazer's with lapels, or a cardigan's with a band of ribs and buttons."""
    edge = curve([(0.506, 1.06), (0.548, 0.965), (0.606, 0.862), (0.628, 0.800)], closed=False)
    half = np.vstack([[(0.5, 1.06)], edge, [(0.628, 0.70), (0.5, 0.70)]])
    front = body * (1.0 - canvas.fill(symmetrical(half[::-1])))
    thrown = canvas.blurred(canvas.moved(front, 0.005, 0.006), 0.009) * (1 - front) * canvas.fill(
        symmetrical(curve([(0.5, 0.79), (0.63, 0.79), (0.63, 1.06), (0.5, 1.06)], closed=False)))  # fmt: skip
    canvas.shade(thrown, (0.50, 0.42, 0.50), 0.6)
    canvas.paint(front, fabric)
    _form(canvas, front, fabric, look)
    if knitted:
        _knit(canvas, front, 0.42)
        _bands(canvas, edge, fabric, front)
        return
    _weave(canvas, front, 0.30)
    lapel = [(0.612, 0.775), (0.642, 0.800), (0.682, 0.868), (0.647, 0.884), (0.666, 0.902), (0.622, 0.975),
             (0.560, 1.06), (0.506, 1.06), (0.548, 0.965), (0.606, 0.862), (0.616, 0.815)]  # fmt: skip
    for side in (1, -1):
        mask = canvas.fill(np.array(lapel) if side > 0 else mirrored(lapel))
        canvas.shade(canvas.blurred(canvas.moved(mask, 0.006 * side + 0.002, 0.008), 0.006) * front * (1 - mask),
                     (0.28, 0.27, 0.38), 0.7)  # fmt: skip
        canvas.paint(mask, scaled(mix(fabric, WHITE, 0.05), 1.05, 1.05, 1.05))
        canvas.shade(mask * canvas.ramp((0.5, 0.86), (0.5, 1.05)), SHADE, 0.55)
        canvas.shade(mask * canvas.ramp((0.44, 0.86), (0.70, 0.90)), SHADE, 0.45)
        _weave(canvas, mask, 0.30)
        canvas.light(canvas.hollow(mask, 0.0020, 0.0016 * -side, 0.002), mix(fabric, WHITE, 0.6), 0.42)
        if side < 0:
            canvas.light(mask * canvas.spot(0.350, 0.865, 0.03, 0.05), mix(fabric, WHITE, 0.5), 0.22)
        notch = [(0.682, 0.868), (0.647, 0.884)]
        line = np.array(notch) if side > 0 else mirrored(notch)
        canvas.shade(canvas.stroke(line, [0.003, 0.0015], 0.0007), (0.25, 0.25, 0.35), 0.8)


def _bands(canvas: Canvas, edge: Line, fabric: Rgb, front: Mask) -> None:
    """The ribbed borders of a cardigan, and its buttons."""
    for side in (1, -1):
        line = edge if side > 0 else mirrored(edge)
        band = canvas.stroke(shifted(line, 0.010 * side, 0.0), [0.026, 0.026]) * front
        canvas.shade(canvas.blurred(canvas.moved(band, 0.006 * side, 0.003), 0.005) * front * (1 - band), SHADE, 0.7)
        canvas.paint(band, scaled(fabric, 1.10, 1.10, 1.08))
        canvas.shade(band * canvas.ramp((0.44, 0.86), (0.70, 0.92)), SHADE, 0.6)
        ribs = np.asarray(0.5 + 0.5 * np.sin(canvas.y * np.float32(2 * np.pi / 0.0085)), np.float32)
        canvas.shade(band * ribs, SHADE, 0.40)
        canvas.light(canvas.hollow(band, 0.002, 0.0016 * -side, 0.001), mix(fabric, WHITE, 0.6), 0.30)
    for y in (0.955, 1.0):
        x = float(np.interp(y, edge[::-1, 1], edge[::-1, 0])) + 0.010
        button = canvas.fill(circle(x, y, 0.0085))
        canvas.shade(canvas.spot(x + 0.002, y + 0.003, 0.010), SHADE, 0.5)
        canvas.paint(button, mix(fabric, (0.20, 0.11, 0.07), 0.8))
        canvas.light(canvas.spot(x - 0.003, y - 0.003, 0.003), WHITE, 0.5)


def _turtleneck(canvas: Canvas, fabric: Rgb) -> None:
    roll = [(0.5, 0.752), (0.545, 0.747), (0.580, 0.735), (0.596, 0.720), (0.608, 0.755), (0.612, 0.80), (0.5, 0.842)]
    mask = canvas.fill(curve(symmetrical(roll)))
    canvas.shade(canvas.blurred(canvas.moved(mask, 0.002, 0.012), 0.009) * (1 - mask), SHADE, 0.7)
    canvas.paint(mask, scaled(fabric, 1.06, 1.06, 1.06))
    ribs = [
        (np.array([(x, 0.73), (0.5 + (x - 0.5) * 1.04, 0.85)]), [0.0030, 0.0030], 1.0)
        for x in np.linspace(0.395, 0.605, 27)
    ]
    canvas.shade(canvas.strands(ribs, 0.0012) * mask, SHADE, 0.45)
    canvas.shade(mask * canvas.ramp((0.47, 0.8), (0.62, 0.8)), SHADE, 0.8)
    canvas.shade(mask * canvas.spot(0.505, 0.738, 0.1, 0.022), (0.35, 0.33, 0.45), 0.8)
    canvas.light(mask * canvas.spot(0.435, 0.795, 0.020, 0.030), mix(fabric, WHITE, 0.5), 0.22)
    canvas.shade(canvas.hollow(mask, 0.006, 0.0, -0.006), SHADE, 0.6)


def _cords(canvas: Canvas, fabric: Rgb) -> None:
    for side in (1, -1):
        cord = curve([(0.53, 0.882), (0.535, 0.93), (0.531, 0.985)], closed=False)
        cord = cord if side > 0 else mirrored(cord)
        canvas.shade(canvas.stroke(shifted(cord, 0.004, 0.003), [0.007, 0.007], 0.004), SHADE, 0.7)
        canvas.paint(canvas.stroke(cord, [0.0065, 0.0065], 0.0005), mix(fabric, WHITE, 0.72))


def _bare_shoulders(canvas: Canvas, look: Look, body: Mask) -> None:
    """Light on the skin that a dress leaves bare."""
    canvas.shade(body * canvas.ramp((0.56, 0.86), (0.95, 0.90)), (0.70, 0.56, 0.60), 0.7)
    canvas.light(body * canvas.spot(0.265, 0.866, 0.07, 0.018, -0.42), (1.0, 0.94, 0.86), 0.36)
    edge = canvas.hollow(body, 0.003, -0.003, 0.0035) * canvas.ramp((0.62, 0.8), (0.72, 0.84))
    canvas.light(edge, rgb(look.light), 0.8 * look.rim)


def _satin(canvas: Canvas, garment: Mask, neckline: Line, fabric: Rgb) -> None:
    """Soft folds that fall from the neckline and catch the light."""
    pale = mix(fabric, (1.0, 0.92, 0.90), 0.7)
    for depth, strength in ((0.016, 0.55), (0.036, 0.42), (0.060, 0.30)):
        fold = shifted(neckline, 0.0, depth)
        canvas.light(canvas.stroke(fold, [0.002, 0.010, 0.013, 0.006, 0.001], 0.0045) * garment, pale, 0.6 * strength)
        canvas.shade(
            canvas.stroke(shifted(fold, 0.0, 0.011), [0.002, 0.012, 0.012, 0.004], 0.006) * garment, SHADE, 0.6
        )
    canvas.light(canvas.hollow(garment, 0.0022, 0.0, 0.003) * canvas.ramp((0.8, 0.9), (0.4, 0.9)), pale, 0.5)


def _necklace(canvas: Canvas, look: Look) -> None:
    metal = rgb(look.jewellery)
    chain = curve([(0.392, 0.800), (0.43, 0.852), (0.5, 0.902), (0.57, 0.852), (0.608, 0.800)], closed=False)
    canvas.shade(canvas.stroke(shifted(chain, 0.002, 0.004), [0.003, 0.003], 0.002), (0.6, 0.45, 0.45), 0.5)
    canvas.paint(canvas.stroke(chain, [0.0022, 0.0022]), metal)
    canvas.light(canvas.stroke(chain[8:24], [0.0, 0.0018, 0.0]), WHITE, 0.6)
    canvas.shade(canvas.spot(0.503, 0.913, 0.011), (0.6, 0.45, 0.45), 0.5)
    canvas.paint(canvas.fill(circle(0.5, 0.909, 0.0095)), metal)
    canvas.paint(canvas.fill(circle(0.5, 0.909, 0.0068), 0.0006), mix(rgb(look.fabric), (0.9, 0.3, 0.4), 0.3))
    canvas.light(canvas.spot(0.4975, 0.906, 0.0022), WHITE, 0.95)
