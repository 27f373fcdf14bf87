"""The program of a script, into which the parts of a pipeline are put."""

from __future__ import annotations

from dataclasses import dataclass

from birdplane.ejecting.chain import Chain
from birdplane.ejecting.parts import Part
from birdplane.pipeline import Training

_LAYERS = {"log-softmax": "torch.log_softmax(outputs, dim=1)", "softmax": "torch.softmax(outputs, dim=1)"}
_CALIBRATION_PICTURES = 2000

_MIX = '''
def mix(*parts):
    """Return a seed made of integers: as chance depends on (seed, epoch, step) alone, it is the same each time."""
    digest = hashlib.blake2b(np.array(parts, "<u8").tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
'''
_DIVIDE = '''
def divide(images, labels, seed, share):
    """Hold out a share of the pictures, by chance."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held, kept = order[: round(share * len(images))], order[round(share * len(images)) :]
    return [(images[part], labels[part]) for part in (kept.sort().values, held.sort().values)]
'''


@dataclass(frozen=True)
class Plan:
    """What a script does: the parts as source, and the settings of the training."""

    settings: Training
    seed: int
    knows_split: bool
    precision: str
    steps: int
    layer: str
    chain: Chain
    dataset: Part
    model: Part
    loss: Part
    optimizer: Part
    schedule: Part
    calibrates: bool
    #: Pictures that are evaluated at once.
    evaluated: int

    @property
    def imports(self) -> set[str]:
        return {"import copy"} if self.settings.average else set()

    def text(self) -> str:
        """Return the program below its imports, with a line's end at its end."""
        codes = [part.plain.code for part in (self.model, self.optimizer, self.schedule, self.loss)]
        functions = [
            _MIX.strip(),
            self.dataset.plain.code,
            _DIVIDE.strip() if self._divisions else "",
            self._prepared(),
            self._finish(),
            self._batches(),
            *codes,
            self._judge(),
        ]
        definitions = [code.strip() for code in dict.fromkeys(functions) if code]
        main = self._main()
        head = self._head("\n".join([*definitions, main]))
        return "\n\n\n".join([head, *definitions, main]) + "\n"

    # What stands at the top.

    def _head(self, program: str) -> str:
        settings = self.settings
        lines = [self.dataset.plain.constants] if self.dataset.plain.constants else []
        lines.append(f"SEED, EPOCHS, BATCH = {self.seed}, {settings.epochs}, {settings.batch_size}")
        if "STEPS" in program:
            lines.append(f"STEPS = {self.steps} * EPOCHS")
        name = (
            '"cuda" if torch.cuda.is_available() else "cpu"'
            if settings.device == "auto"
            else f'"{settings.device}"'
        )
        lines.append(f"DEVICE = torch.device({name})")
        return "\n".join([*lines, *self.chain.made, *self._criterion()])

    def _criterion(self) -> list[str]:
        return [f"criterion = {self.loss.plain.use}"] if self.loss.foreign else []

    # The pictures.

    @property
    def _divisions(self) -> list[str]:
        """How the pictures are divided where the dataset does not do it, or some of the training's are held out."""
        lines = []
        if not self.knows_split:
            lines.append("train, test = divide(*load(), mix(SEED, 1), 0.2)")
        if self.settings.holdout:
            train = "train" if lines else 'load("train")'
            lines.append(f"train, test = divide(*{train}, mix(SEED, 2), {self.settings.holdout!r})")
        return lines

    @property
    def _half(self) -> str:
        return ".to(torch.bfloat16)" if self.precision == "bfloat16" else ""

    @property
    def _last(self) -> str:
        layout = ".contiguous(memory_format=torch.channels_last)" if self.settings.channels_last else ""
        return self._half + layout

    def _prepared(self) -> str:
        """What is done to pictures before the first random change, once."""
        if not self.chain.prepared:
            return ""
        told = "Do to pictures what is done to all of them alike."
        return _function("prepare(images)", told, _returned(self.chain.prepared, self._last))

    def _finish(self) -> str:
        """Where steps that are not random come after random ones: what is done to pictures that are evaluated."""
        if not self.chain.finished:
            return ""
        told = "Do to pictures that are evaluated what is done after all random changes."
        return _function("finish(images)", told, _returned(self.chain.finished, self._last))

    def _batches(self) -> str:
        split = "order.split(BATCH)"
        if self.settings.drop_last:
            split = "order[: len(order) // BATCH * BATCH].split(BATCH)"
        lines = [
            "chance = torch.Generator().manual_seed(mix(SEED, epoch))",
            "order = torch.randperm(len(train_images), generator=chance).to(DEVICE)",
        ]
        changed = self.chain.changed
        finished = "train_images[indices]"
        if changed:
            loop = (
                "for step, indices in enumerate("
                if any("step" in line for line in changed)
                else "for indices in ("
            )
            lines.append(f"{loop}{split}):")
            lines += [f"    {line}" for line in [f"images = {finished}", *changed]]
            finished = "images"
        else:
            lines.append(f"for indices in {split}:")
        lines.append(f"    yield {finished}{self._last}, train_labels[indices]")
        told = "Yield the training pictures and their labels, in another order each epoch."
        if changed:
            told = "Yield the training pictures, changed by chance, and their labels, in another order each epoch."
        return _function("batches(epoch)", told, lines)

    # Learning.

    def _judge(self) -> str:
        lines = ["outputs = model(images)"]
        if self.precision == "bfloat16":
            lines = [
                "with torch.autocast(DEVICE.type, torch.bfloat16):",
                "    outputs = model(images).float()",
            ]
        if self.layer in _LAYERS:
            lines.append(f"outputs = {_LAYERS[self.layer]}")
        loss = "criterion(outputs, labels)" if self.loss.foreign else self.loss.plain.use
        lines += [f"loss = {loss}", "return loss, (outputs.argmax(dim=1) == labels).sum()"]
        told = "Return the mean loss of a batch, and how many are right."
        return _function("judge(model, images, labels)", told, lines)

    def _main(self) -> str:
        return "\n\n".join("\n".join(lines) for lines in (self._data(), [*self._building(), *self._loop()]))

    def _data(self) -> list[str]:
        lines = self._divisions
        for split in ("train", "test"):
            loaded = (
                split
                if lines and not lines[0].startswith(split + "_") and self._divisions
                else f'load("{split}")'
            )
            lines.append(f"{split}_images, {split}_labels = (tensor.to(DEVICE) for tensor in {loaded})")
        if self.chain.prepared:
            if self.chain.in_parts:
                for split in ("train", "test"):
                    parts = f"[prepare(part) for part in {split}_images.split(500)]"
                    lines.append(f"{split}_images = torch.cat({parts})")
            else:
                lines.append("train_images, test_images = prepare(train_images), prepare(test_images)")
        return lines

    def _building(self) -> list[str]:
        lines = [
            "torch.manual_seed(SEED)  # what the first weights are drawn from",
            *f"model = {self.model.plain.use}".split("\n"),
        ]
        layout = ", memory_format=torch.channels_last" if self.settings.channels_last else ""
        lines[-1] += f".to(DEVICE{layout})"
        if self.calibrates:
            number = min(self.steps, -(-_CALIBRATION_PICTURES // self.settings.batch_size))
            first = f"[images for _, (images, _) in zip(range({number}), batches(0), strict=False)]"
            lines.append(f"model.calibrate(torch.cat({first}).float())")
        if "groups" in self.optimizer.plain.use:
            lines += [
                "learned = [p for p in model.parameters() if p.requires_grad]",
                'groups = [{"params": [p for p in learned if p.ndim > 1]}]',
                'groups.append({"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0})',
            ]
        lines += f"optimizer = {self.optimizer.plain.use}".split("\n")
        if self._scheduled:
            lines.append(f"schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, {self._factor()})")
        if self.settings.average:
            lines.append(
                "average = copy.deepcopy(model)  # a moving average of the weights, which is what validates"
            )
        if self.settings.compile:
            lines.append("model.compile()")
        return lines

    @property
    def _scheduled(self) -> bool:
        return bool(self.schedule.plain.use)

    def _factor(self) -> str:
        use = self.schedule.plain.use
        # After the last step it is asked once more, which not every schedule may like.
        return f"lambda step, factor={use}: factor(min(step, STEPS - 1))" if self.schedule.foreign else use

    def _loop(self) -> list[str]:
        draws = self.model.plain.draws or self.loss.plain.draws
        lines = [
            "losses = []",
            "for epoch in range(EPOCHS):",
            "    model.train()",
            "    total = right = seen = 0",
        ]
        each = (
            "for step, (images, labels) in enumerate(batches(epoch)):"
            if draws
            else "for images, labels in batches(epoch):"
        )
        lines.append(f"    {each}")
        body = ["torch.manual_seed(mix(SEED, epoch, step))  # what dropout draws from"] if draws else []
        body += [
            "loss, hits = judge(model, images, labels)",
            "loss.backward()  # how the loss changes with each weight",
            "optimizer.step()  # each weight a little downhill",
            "optimizer.zero_grad()  # else the next slopes would be added to these",
            *(["schedule.step()"] if self._scheduled else []),
            *self._averaging(),
            "losses.append(loss.item())",
            "total, right, seen = total + losses[-1] * len(labels), right + hits.item(), seen + len(labels)",
        ]
        lines += [f"        {line}" for line in body]
        told = 'print(f"epoch {epoch + 1}: train loss {total / seen:.4f}, accuracy {right / seen:.4f}")'
        lines.append(f"    {told}")
        every = self.settings.validate_every
        if every == 1:
            return [*lines, *(f"    {line}" for line in self._evaluation())]
        if every < self.settings.epochs:
            lines.append(f"    if (epoch + 1) % {every} == 0 or epoch + 1 == EPOCHS:")
            return [*lines, *(f"        {line}" for line in self._evaluation())]
        return [*lines, *self._evaluation()]

    def _evaluation(self) -> list[str]:
        net = "average" if self.settings.average else "model"
        part = f"finish(part){self._last}" if self.chain.finished else "part"
        part = part if self.chain.prepared or self.chain.finished else f"part{self._last}"
        size = self.evaluated
        return [
            f"{net}.eval()",
            "total = right = 0",
            "with torch.no_grad():  # nothing is learned here",
            f"    for part, labels in zip(test_images.split({size}), test_labels.split({size}), strict=True):",
            f"        loss, hits = judge({net}, {part}, labels)",
            "        total, right = total + loss.item() * len(labels), right + hits.item()",
            'print(f"    test loss {total / len(test_labels):.4f}, accuracy {right / len(test_labels):.4f}")',
        ]

    def _averaging(self) -> list[str]:
        if not self.settings.average:
            return []
        return [
            "with torch.no_grad():",
            "    for kept, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):",
            f"        kept.lerp_(now, 1 - {self.settings.average!r}) if now.is_floating_point() else kept.copy_(now)",
        ]


def _returned(lines: list[str], last: str) -> list[str]:
    """Return statements that end with `return` of `images`."""
    prefix, expression = "images = ", lines[-1].removeprefix("images = ")
    if lines[-1].startswith(prefix) and (not last or expression.isidentifier()):
        return [*lines[:-1], f"return {expression}{last}"]
    return [*lines, f"return images{last}"]


def _function(signature: str, told: str, lines: list[str]) -> str:
    return "\n".join([f"def {signature}:", f'    """{told}"""', *(f"    {line}" for line in lines)])
