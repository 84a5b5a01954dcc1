"""The page: what stands on it, and what its buttons do."""

import asyncio
import html
import math
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr

from mrfa.animation.animator import Animator
from mrfa.animation.driver import Progress
from mrfa.animation.extraction import extract_motion
from mrfa.animation.face_motion import has_named_keypoints
from mrfa.animation.job import JobResult, demo_files
from mrfa.animation.template import SUFFIX
from mrfa.errors import InputError
from mrfa.web.controls import MOTIONS, OWN_FACE, STARTS, Controls
from mrfa.web.jobs import Course, Job, Jobs, StoppedError, Work
from mrfa.web.limits import Limits, in_words, uploaded
from mrfa.web.previews import PortraitPreview, look_at_driving, look_at_portrait

# Seconds between two looks at a job, and for which files are kept.
PULSE = 0.25
KEPT = 3600
RESULT, MOTION = "animated.mp4", f"motion{SUFFIX}"

CONSENT = (
    "The portrait shows me, someone who agreed to this, or nobody who ever lived. Where I show the result, I say that a "
    "computer made it."
)
STYLE = """
.said:not(:has(p)) { display: none; }
.note, .problem { margin: .25rem 0; }
.problem { color: #b91c1c; font-weight: 600; }
.dark .problem { color: #fca5a5; }
progress { width: 100%; height: .6rem; appearance: none; border: 0; border-radius: 1rem; background: var(--neutral-200); }
progress::-webkit-progress-bar { border-radius: 1rem; background: var(--neutral-200); }
progress::-webkit-progress-value { border-radius: 1rem; background: var(--color-accent); }
progress::-moz-progress-bar { border-radius: 1rem; background: var(--color-accent); }
#driving video { max-height: 278px; }
"""
# The driver plays along with the result, in silence.
SCRIPT = """<script>
for (const kind of ["play", "pause", "seeking"])
  document.addEventListener(kind, ({target}) => {
    const driver = document.querySelector("#driving video");
    if (!driver || !target.closest("#result")) return;
    driver.muted = kind !== "pause";
    driver.currentTime = target.currentTime;
    if (kind === "play") driver.play(); else if (kind === "pause") driver.pause();
  }, true);
</script>"""
FONTS = ("system-ui", "sans-serif")
# For gradio's `launch`.
LOOK = {
    "css": STYLE,
    "head": SCRIPT,
    "theme": gr.themes.Default(primary_hue="indigo", font=FONTS, font_mono=("ui-monospace", "monospace")),
}

Updates = dict[Any, Any]


class Page:
    """The page of one server.

    Args:
        animator: that computes.
        limits: of what users may ask for.
        folder: that holds all uploads and results.
        jobs: of all users.

    Attributes:
        blocks: the page, for gradio to launch.
    """

    def __init__(self, animator: Animator, limits: Limits, folder: Path, jobs: Jobs) -> None:
        self._animator, self._limits, self._folder, self._jobs = animator, limits, folder, jobs
        self._takes_parts = has_named_keypoints(animator.network)
        with gr.Blocks(title="mrfa", analytics_enabled=False, delete_cache=(60, KEPT)) as self.blocks:
            self._lay_out()
            self._connect()

    def _lay_out(self) -> None:
        gr.Markdown("# Animate a portrait\nA face in a picture moves as a face in a video does.")
        self._portrait_path, self._portrait_preview, self._driving_path = gr.State(), gr.State(), gr.State()
        # What we show in the video's place, a template's drawing or nothing; None while it is the user's own video.
        self._drawing = gr.State()
        self._agreed = gr.BrowserState(False, storage_key="mrfa-consent", secret="no secret")
        with gr.Row():
            with gr.Column(min_width=280):
                self._lay_out_portrait()
            with gr.Column(min_width=280):
                self._lay_out_driving()
            with gr.Column(min_width=280):
                self._lay_out_result()
        with gr.Accordion("Adjust the motion", open=False):
            self._lay_out_controls()
        gr.Markdown(
            f"Files up to {self._limits.megabytes} MB, motion up to {self._limits.seconds} seconds. Nothing leaves the machine "
            "that this page comes from. Files are deleted when you close the page, or after an hour.\n\n"
            "**Use it responsibly.** Animate yourself, people who agreed, or faces of nobody; do not deceive or harm with it."
        )

    def _lay_out_portrait(self) -> None:
        gr.Markdown("### 1 · Portrait")
        sources: Any = ["upload", "webcam", "clipboard"]
        self._portrait = gr.Image(
            sources=sources, type="filepath", image_mode=None, show_label=False, height=320, elem_id="portrait"
        )
        self._example_portrait = gr.Button("Use the example portrait", size="sm")
        self._portrait_note = gr.HTML(elem_classes="said", padding=False)
        self._face = gr.Radio([1], value=1, label="Which face?", visible=False)
        self._numbered = gr.Image(show_label=False, visible=False, interactive=False, buttons=[])
        self._portrait_crop = gr.Image(label="This part will move", visible=False, interactive=False, buttons=[], height=200)

    def _lay_out_driving(self) -> None:
        gr.Markdown("### 2 · Motion")
        self._driving = gr.Video(
            sources=["upload", "webcam"], include_audio=True, show_label=False, height=320, elem_id="driving"
        )
        with gr.Row():
            self._example_driving = gr.Button("Use the example motion", size="sm", min_width=170)
            self._template = gr.UploadButton("Upload a motion file", file_types=[SUFFIX], size="sm", min_width=170)
        self._driving_note = gr.HTML(elem_classes="said", padding=False)
        self._driving_crop = gr.Image(label="This face drives it", visible=False, interactive=False, buttons=[], height=200)

    def _lay_out_result(self) -> None:
        gr.Markdown("### 3 · Result")
        self._result = gr.Video(show_label=False, interactive=False, height=320, autoplay=True, elem_id="result", buttons=[])
        self._consent = gr.Checkbox(label=CONSENT, container=False)
        self._animate = gr.Button("Animate", variant="primary")
        self._cancel = gr.Button("Cancel", variant="stop", visible=False)
        self._status = gr.HTML(elem_classes="said", padding=False)
        self._video_file = gr.DownloadButton("Download the video", visible=False)
        self._keep = gr.Button("Save the motion as a file", visible=False)
        self._motion_file = gr.DownloadButton("Download the motion", visible=False)

    def _lay_out_controls(self) -> None:
        first = Controls()
        gr.Markdown("How much of the video's motion: 0 is none, 1 all of it, 2 twice as much.", visible=self._takes_parts)
        with gr.Row(visible=self._takes_parts) as self._parts:
            strengths = [
                gr.Slider(0, 2, value=1, step=0.05, label=label) for label in ("Expression", "Head motion", "Eyes", "Lips")
            ]
        self._same_pose = gr.Checkbox(first.same_pose, label="Turn the head exactly as in the video", visible=self._takes_parts)
        with gr.Row():
            smooth = gr.Slider(0, 1, value=first.smooth, step=0.05, label="Steadiness", info="For shaky videos; 0: as it is")
            start = gr.Dropdown(list(STARTS), value=first.start, label="The video's frame that looks like the portrait")
        self._motion = gr.Radio(list(MOTIONS), value=first.motion, label="How the motion is transferred")
        whole = gr.Checkbox(first.whole, label="Show the whole picture, not only the face")
        compare = gr.Checkbox(first.compare, label="Show portrait and video beside the result, in one file")
        sound = gr.Checkbox(first.sound, label="Keep the video's sound")
        mark = gr.Checkbox(first.mark, label="Write 'AI-generated' into the picture")
        self._controls = [self._face, self._motion, start, *strengths, self._same_pose, smooth, whole, compare, sound, mark]

    def _connect(self) -> None:
        portrait = [
            *(self._portrait_path, self._portrait_preview, self._portrait_note),
            *(self._face, self._numbered, self._portrait_crop),
        ]
        driving = [self._driving_path, self._drawing, self._driving_note, self._driving_crop, self._driving]
        looks: dict[str, Any] = {"concurrency_id": "look", "concurrency_limit": 1, "api_visibility": "private"}
        # Files come as the browser names them, so that it is us who check and read them.
        self._portrait.change(self._look_at_portrait, self._portrait, portrait, preprocess=False, **looks)
        self._face.input(self._show_face, [self._face, self._portrait_preview], portrait, **looks)
        self._example_portrait.click(lambda: demo_files()[0], None, self._portrait, **looks)
        self._driving.change(self._look_at_driving, [self._driving, self._drawing], driving[:-1], preprocess=False, **looks)
        self._template.upload(self._look_at_template, self._template, driving, preprocess=False, **looks)
        self._example_driving.click(self._look_at_example, None, driving, **looks)
        self._motion.input(self._show_parts, self._motion, [self._parts, self._same_pose], **looks)

        outputs = [
            *(self._animate, self._cancel, self._status, self._result),
            *(self._video_file, self._keep, self._motion_file, self._agreed),
        ]
        runs: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
        asked = [self._consent, self._portrait_path, self._driving_path, *self._controls]
        self._animate.click(self._run_animation, asked, outputs, **runs)
        self._keep.click(self._run_extraction, self._driving_path, outputs, **runs)
        self._cancel.click(self._stop, queue=False, api_visibility="private")
        self.blocks.load(self._remember, self._agreed, self._consent, api_visibility="private")
        self.blocks.unload(self._forget)

    def _look_at_portrait(self, payload: object) -> Updates:
        cleared = {
            self._portrait_path: None,
            self._portrait_preview: None,
            self._portrait_note: "",
            self._face: gr.update(choices=[1], value=1, visible=False),
            self._numbered: gr.update(value=None, visible=False),
            self._portrait_crop: gr.update(value=None, visible=False),
        }
        if payload is None:
            return cleared
        try:
            path = uploaded(payload, self._folder)
            preview = look_at_portrait(path, self._limits)
        except InputError as error:
            return cleared | {self._portrait_note: self._problem(error)}
        numbers = list(range(1, len(preview.crops) + 1))
        several = len(numbers) > 1
        return self._show_face(1, preview) | {
            self._portrait_path: path,
            self._portrait_preview: preview,
            self._face: gr.update(choices=numbers, value=1, visible=several),
            self._numbered: gr.update(value=preview.numbered if several else None, visible=several),
        }

    def _show_face(self, number: int, preview: PortraitPreview) -> Updates:
        return {
            self._portrait_note: _notes(preview.warnings[number - 1]),
            self._portrait_crop: gr.update(value=preview.crops[number - 1], visible=True),
        }

    def _look_at_driving(self, payload: object, drawing: str | None) -> Updates:
        if drawing is not None and drawing == (str(payload.get("path")) if isinstance(payload, dict) else ""):
            return gr.skip()
        return self._driving_of(payload)

    def _look_at_template(self, payload: object) -> Updates:
        updates = self._driving_of(payload)
        drawing = updates[self._drawing] or ""
        return updates | {self._drawing: drawing, self._driving: drawing or None}

    def _look_at_example(self) -> Updates:
        updates = self._show_driving(demo_files()[1])
        return updates | {self._driving: updates[self._drawing]}

    def _driving_of(self, payload: object) -> Updates:
        """A driver that the user chose, or none."""
        if payload is None:
            return self._without_driving()
        try:
            return self._show_driving(uploaded(payload, self._folder))
        except InputError as error:
            return self._without_driving() | {self._driving_note: self._problem(error)}

    def _show_driving(self, path: Path) -> Updates:
        preview = look_at_driving(path, self._limits, self._folder)
        return {
            self._driving_path: path,
            self._drawing: None if preview.view is None else str(preview.view),
            self._driving_note: _notes(preview.warnings),
            self._driving_crop: gr.update(value=preview.crop, visible=preview.crop is not None),
        }

    def _without_driving(self) -> Updates:
        return {
            self._driving_path: None,
            self._drawing: None,
            self._driving_note: "",
            self._driving_crop: gr.update(value=None, visible=False),
        }

    def _show_parts(self, motion: str) -> Updates:
        visible = gr.update(visible=self._takes_parts and motion == OWN_FACE)
        return {self._parts: visible, self._same_pose: visible}

    async def _run_animation(
        self, request: gr.Request, consent: bool, portrait: Path | None, driving: Path | None, *controls: Any
    ) -> AsyncIterator[Updates]:
        def work(folder: Path, on_progress: Progress) -> JobResult:
            assert portrait is not None and driving is not None
            return options.animate(portrait, driving, folder / RESULT, self._animator, on_progress)

        def show(folder: Path) -> Updates:
            return {
                self._result: folder / RESULT,
                self._video_file: gr.update(value=folder / RESULT, visible=True),
                self._keep: gr.update(visible=driving is not None and driving.suffix.lower() != SUFFIX),
                self._agreed: True,
            }

        try:
            if portrait is None or driving is None:
                raise InputError("choose a portrait and a motion first")
            if not consent:
                raise InputError("tick the box above the button first: the portrait must be one that you may animate")
            options = Controls(*controls).options()
        except InputError as error:
            yield {self._status: self._problem(error)}
            return
        hidden = gr.update(visible=False)
        yield {self._result: None, self._video_file: hidden, self._keep: hidden, self._motion_file: hidden}
        async for updates in self._run(str(request.session_hash), work, show):
            yield updates

    async def _run_extraction(self, request: gr.Request, driving: Path | None) -> AsyncIterator[Updates]:
        def work(folder: Path, on_progress: Progress) -> JobResult:
            assert driving is not None
            return extract_motion(driving, folder / MOTION, model=self._animator, on_progress=on_progress)

        def show(folder: Path) -> Updates:
            return {self._motion_file: gr.update(value=folder / MOTION, visible=True), self._keep: gr.update(visible=False)}

        if driving is not None:
            async for updates in self._run(str(request.session_hash), work, show):
                yield updates

    async def _run(self, owner: str, work: Work, show: Callable[[Path], Updates]) -> AsyncIterator[Updates]:
        """Put work into the queue and say how far it is, until it is done and can be shown."""
        try:
            job = self._jobs.start(owner, work)
        except InputError as error:
            yield {self._status: self._problem(error)}
            return
        yield {self._animate: gr.update(interactive=False), self._cancel: gr.update(visible=True)}
        while not job.future.done():
            yield {self._status: progress_in_words(job.course, self._jobs.ahead_of(job))}
            await asyncio.sleep(PULSE)
        ended = {self._animate: gr.update(interactive=True), self._cancel: gr.update(visible=False)}
        yield ended | self._outcome(job, show)

    def _outcome(self, job: Job, show: Callable[[Path], Updates]) -> Updates:
        """What a job that has ended leaves on the page."""
        try:
            result = job.future.result()
        except StoppedError:
            return {self._status: _notes(["cancelled"])}
        except InputError as error:
            return {self._status: self._problem(error)}
        except Exception:
            traceback.print_exc()
            return {self._status: self._problem(InputError("something went wrong: the server's terminal says what"))}
        warnings = [in_words(warning, self._folder) for warning in result.warnings]
        return {self._status: _notes([f"done: {result.frames} frames", *warnings]), **show(job.folder)}

    def _stop(self, request: gr.Request) -> None:
        self._jobs.stop(str(request.session_hash))

    def _forget(self, request: gr.Request) -> None:
        self._jobs.forget(str(request.session_hash))

    def _remember(self, agreed: object) -> Any:
        """Consent is asked for once: the browser keeps the answer."""
        return gr.update(value=agreed is True, visible=agreed is not True)

    def _problem(self, error: InputError) -> str:
        return f'<p class="problem" role="alert">{html.escape(_sentence(in_words(str(error), self._folder)))}</p>'


def _notes(lines: list[str]) -> str:
    return "".join(f'<p class="note">{html.escape(_sentence(line))}</p>' for line in lines)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def progress_in_words(course: Course, ahead: int) -> str:
    """How far a job is, as a bar and in words, with so many jobs ahead of it."""
    if ahead:
        return f'<progress></progress><p class="note">Waiting: {ahead} before you</p>'
    stage, done, total, rate = course
    words = [stage[:1].upper() + stage[1:]]
    if done:
        words.append(f"{done} of {total} frames" if total else f"{done} frames")
    if rate > 0:
        words.append(f"{rate:.1f} frames/s")
    if rate > 0 and total and total > done:
        words.append(f"{math.ceil((total - done) / rate)} s left")
    bar = f'<progress value="{done}" max="{total}"></progress>' if total else "<progress></progress>"
    return f'{bar}<p class="note">{" · ".join(words)}</p>'
