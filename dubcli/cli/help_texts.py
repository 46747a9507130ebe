"""What each option is for: a line for every field of the configurations in `dubcli.config`."""

from __future__ import annotations

from dubcli.config import (
    DEVICES,
    SYNC_MODES,
    DubConfig,
    EvaluateConfig,
    FinetuneConfig,
    OccluderTrainConfig,
    PlanConfig,
    PrepareConfig,
    SyncTrainConfig,
    TrainConfig,
)

HELP: dict[type, dict[str, str]] = {
    DubConfig: {
        "video": "The video to dub.",
        "audio": (
            "The new speech: any file with an audio stream. For several people, once for each: "
            "FACE=FILE, such as 1=anna.wav or left=ben.wav; they sound together."
        ),
        "output": "Where the result goes. Default: VIDEO.dubbed.EXT beside the video.",
        "overwrite": "Replace the output if it exists.",
        "model": (
            "Model or model.tag, as in `dub models list`; hf:ORG/REPO\\[@REV]\\[:FILE] of the hub; "
            "or a checkpoint of your own: a folder, a run, a .safetensors file."
        ),
        "device": f"Where the model runs: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "face": (
            "Which face: a number from 1 by size; left, right, centre, top or bottom; a picture of "
            "the person; or auto: whose lips follow the video's own sound, else the largest."
        ),
        "sync_mode": (
            f"When the lengths differ: {', '.join(SYNC_MODES)}. The first three extend the video "
            "under longer audio; cut ends with the shorter; pad keeps the video's length."
        ),
        "crf": "Quality of the video: 0 is lossless, 51 the worst.",
        "seed": "Seed of everything random.",
        "threads": "CPU threads; 0 takes all cores.",
        "allow_silence": "Dub although the audio is silent: the mouth stays closed.",
        "identity": "What `dub finetune` learned of this person: a name, or a folder.",
        "finetune": (
            "Learn the person from the video first, and keep it as --identity, or under the "
            "video's name. Takes minutes."
        ),
        "consent": "With --finetune: the person agreed to be learned; no question is asked.",
        "audio_offset": (
            "Seconds by which the audio starts later, lips and sound alike; below 0 its beginning "
            "is cut."
        ),
        "match_loudness": "Make the audio as loud as the video's own sound, short of clipping.",
        "mix_original": (
            "Mix the video's own sound below the new one at a level such as -20dB, -60dB to 0dB."
        ),
        "keep_silent_frames": "Leave the original picture while nobody speaks in the new audio.",
        "deinterlace": "Make interlaced video progressive, frame by frame; refused otherwise.",
        "start": (
            "Dub only from here on, and leave the rest as it is: seconds or [H:]M:S from the first "
            "frame; the audio begins here."
        ),
        "end": (
            "Dub only up to here. Default: with --start, the end of the audio or of the video, "
            "whichever is first."
        ),
        "no_mark": (
            "Leave out the marks that tell that the lips were dubbed; the law may ask for them."
        ),
        "visible_mark": "Show small words in a corner of every frame, away from mouths.",
        "c2pa_cert": (
            "PEM certificate chain that signs Content Credentials in place of the development one; "
            "needs the extra c2pa."
        ),
        "c2pa_key": "Private key of that certificate, PEM.",
    },
    PlanConfig: {
        "audio": (
            "The new speech, as for the dub: a file, or FACE=FILE for each of several people. "
            "Without it the faces alone are looked at."
        ),
        "overwrite": "Replace the picture of the faces if it exists.",
        "faces": "PNG that shows every face with its number. Default: VIDEO.faces.png.",
        "picture": "Draw that picture.",
    },
    PrepareConfig: {
        "clips": "Folder of video clips.",
        "output": "Folder of the training set.",
        "overwrite": "Replace the training set if it exists.",
        "jobs": "Clips prepared at the same time.",
        "catalogue": "CSV that names clips, people and whether the audio is theirs.",
    },
    TrainConfig: {
        "model": "Architecture to train.",
        "data": "Folder that `dub prepare` made.",
        "output": "Folder of the run: checkpoints, log, sample pictures.",
        "stage": "What is trained, a stage of the model; iptalker: geometry, render or joint.",
        "preset": "Named model configuration.",
        "losses": "Named loss weights of a stage; iptalker: default, no-gan, paper, lip-identity.",
        "perceptual": (
            "What perceptual losses compare: vgg19 (downloaded), substitute, or auto: vgg19 where "
            "it is downloaded already."
        ),
        "init": "What to start from: a run, a checkpoint, a .safetensors file or a model's name.",
        "half_size": "Train at half the crop's height and width: faster, for a first stage.",
        "steps": "Optimizer steps in all.",
        "minutes": "Stop after this many minutes; 0 for no limit.",
        "batch_clips": "Clips in a batch.",
        "frames_per_clip": "Frames of each clip in a batch.",
        "accumulate": "Batches whose gradients make one step.",
        "workers": "Processes that read batches ahead; 0 reads each when it is needed.",
        "learning_rate": "Step size of the optimizer.",
        "seed": "Seed of everything random.",
        "device": f"Where it runs: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "precision": "Number format while training: auto, float32 or bfloat16.",
        "threads": "CPU threads; 0 takes all cores.",
        "checkpoint_every": "Steps between checkpoints.",
        "sample_every": "Steps between sample pictures.",
        "resume": "Go on from the last checkpoint in the output folder.",
    },
    FinetuneConfig: {
        "videos": "Videos of the person; 4 seconds are enough, more is better.",
        "name": "What the identity is called, or the folder where it is to lie.",
        "model": "Model that learns, as in `dub models list`.",
        "consent": "The person agreed to be learned; no question is asked.",
        "steps": "Steps in all.",
        "minutes": "Stop after this many minutes in all; 0 for no limit.",
        "half": "Learn from the first half of each video, and leave the second for scoring.",
        "face": "Which face of the first video, counted from 1 by size; 0 takes who is seen most.",
        "learn_sound": (
            "Also learn how the lips follow the sound, guarded by the sync expert. By default "
            "only the mouth's shape and range are taken."
        ),
        "overwrite": "Replace the identity if it exists, and drop an unfinished run.",
        "seed": "Seed of everything random.",
        "device": f"Where it runs: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "precision": "Number format while learning: auto, float32 or bfloat16.",
        "threads": "CPU threads; 0 takes all cores.",
    },
    SyncTrainConfig: {
        "data": "Folder that `dub prepare` made.",
        "output": "Folder of the run: offsets, checkpoints, log.",
        "preset": "Which expert: expert (finds offsets, teaches) or judge (scores).",
        "steps": "Optimizer steps of the last expert; those before it take 1.6 times as many.",
        "minutes": "About how long it may take in all, in place of --steps; 0 to go by --steps.",
        "batch_clips": "Clips in a batch.",
        "moments_per_clip": "Moments of each clip in a batch, 25 a second.",
        "learning_rate": "Step size of the optimizer.",
        "seed": "Seed of everything random.",
        "device": f"Where it runs: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "threads": "CPU threads; 0 takes all cores.",
        "checkpoint_every": "Steps between checkpoints.",
    },
    OccluderTrainConfig: {
        "data": "Folder that `dub prepare` made.",
        "output": "Folder of the weights and their scores.",
        "steps": "Optimizer steps.",
        "minutes": "Stop after this many minutes if --steps take longer; 0 for no limit.",
        "batch": "Pictures in a batch; half of them are covered.",
        "faces": "Pictures that are kept in memory, 39 kB each, spread over the people.",
        "learning_rate": "Largest step size of the optimizer.",
        "seed": "Seed of everything random.",
        "threads": "CPU threads; 0 takes all cores.",
    },
    EvaluateConfig: {
        "clips": "Folder of videos, or a CSV with the column 'clip'.",
        "output": "Folder of the scores: tables, plots, contact sheets.",
        "settings": "What is dubbed: reconstruction, cross, silence.",
        "models": "Models that are scored, as --model of the main job takes them; '' for none.",
        "identities": (
            "Identities that are scored beside them: names, paths, or a folder with one for each "
            "clip."
        ),
        "baselines": (
            "What they are compared with: passthrough, best-reference, audio-reference, "
            "ground-truth; '' for none."
        ),
        "half": "Lend references from the first half of each clip and score the second.",
        "catalogue": "CSV that names people and whether a clip's sound is theirs.",
        "speech": "Folder of foreign recordings for the setting cross.",
        "weights": (
            "Folder with networks of other projects; those of `dub models pull --for evaluate` are "
            "found without it."
        ),
        "limit": "Score the first clips only; 0 for all.",
        "device": f"Where the models run: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "threads": "CPU threads; 0 takes all cores.",
        "seed": "Seed of everything random.",
        "keep": "Keep the dubbed videos.",
        "overwrite": "Score again what an earlier run has scored.",
    },
}
