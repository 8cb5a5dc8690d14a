"""Linear regression: made in NumPy, trained in torch, drawn with matplotlib from NumPy."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import dlpack_bridge as db

SLOPE, INTERCEPT, NOISE = 1.8, -0.7, 1.0
POINTS, EPOCHS = 240, 120
PICTURE = Path("linear_regression.png")


def line(slope, intercept):
    sign = "-" if intercept < 0 else "+"
    return f"y = {slope:.2f} x {sign} {abs(intercept):.2f}"


def synthetic_data():
    """Points around a line: (POINTS, 1) each, float64 as NumPy makes them."""
    random = np.random.default_rng(seed=7)
    x = random.uniform(-3.0, 3.0, size=(POINTS, 1))
    y = SLOPE * x + INTERCEPT + random.normal(scale=NOISE, size=x.shape)
    return x, y


def train(inputs, targets):
    """Fits a line by gradient descent; returns the model and the loss of each epoch."""
    torch.manual_seed(7)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for epoch in range(1, EPOCHS + 1):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if epoch == 1 or epoch % 20 == 0:
            bar = "#" * (20 * epoch // EPOCHS)
            print(f"  epoch {epoch:3}/{EPOCHS} [{bar:<20}] loss {losses[-1]:.4f}")
    return model, losses


def draw(x, y, predictions, losses, fitted):
    true = line(SLOPE, INTERCEPT)
    figure = Figure(figsize=(10, 4.5), dpi=150, layout="constrained")
    fit, history = figure.subplots(1, 2, width_ratios=(2, 1))
    ends = np.array([x.argmin(), x.argmax()])  # two points draw a line

    fit.scatter(x, y, s=18, color="#4477aa", alpha=0.55, linewidths=0, label="synthetic data")
    fit.plot(x[ends], predictions[ends], color="#cc3311", lw=2.5, label=f"fitted line: {fitted}")
    fit.plot(x[ends], SLOPE * x[ends] + INTERCEPT, "k:", lw=2, label=f"true line: {true}")
    fit.set(title="Linear regression: NumPy data, torch model", xlabel="x", ylabel="y")
    fit.legend(frameon=False, loc="upper left")

    history.plot(range(1, EPOCHS + 1), losses, color="#228833", lw=2, label="training loss")
    history.axhline(NOISE**2, color="black", ls=":", lw=2, label="variance of the noise")
    history.set(title="Training", xlabel="epoch", ylabel="mean squared error")
    history.legend(frameon=False)

    for axes in (fit, history):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(PICTURE)


def main():
    x, y = synthetic_data()

    with db.trace() as trace:
        inputs = db.to_torch(x, dtype="float32")
        targets = db.to_torch(y, dtype="float32")
    print("NumPy to torch as float32")
    for record in trace.records:
        print(f"  {record.action}: {record.nbytes} bytes")
        for reason in record.reasons:
            print(f"    {reason.message}")
    assert inputs.dtype == targets.dtype == torch.float32
    assert trace.copied_bytes == 2 * POINTS * 4

    print("Training in torch")
    model, losses = train(inputs, targets)
    slope, intercept = model.weight.item(), model.bias.item()
    print(f"  fitted {line(slope, intercept)}, true {line(SLOPE, INTERCEPT)}")
    assert losses[-1] < losses[0] / 5
    assert abs(slope - SLOPE) < 0.2 and abs(intercept - INTERCEPT) < 0.2

    result = model(inputs)  # requires grad: the hub wants to be told that NumPy may have it
    predictions = db.to_numpy(result, detach=True)
    print("Predictions back to NumPy with detach=True")
    print(f"  shared: torch {result.data_ptr():#x}, NumPy {predictions.ctypes.data:#x}")
    assert predictions.ctypes.data == result.data_ptr()

    draw(x, y, predictions, losses, fitted=line(slope, intercept))
    print(f"Picture: {PICTURE.resolve()}")


if __name__ == "__main__":
    main()
