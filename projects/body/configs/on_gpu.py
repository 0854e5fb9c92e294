_base_ = './truncated.py'
custom_imports = dict(imports=[*_base_.custom_imports['imports'], 'on_gpu'])

# with PYTHONPATH=projects/body and pip install onnx2torch, from the weights of the sixth run. By
# iterations: no worker waits for an epoch's end
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=1_000_000, val_interval=1_000_000
)
log_processor = dict(by_epoch=False)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
load_from = 'work_dirs/sixth.pth'

# hooks: averaged over 500 iterations, every tenth
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500))
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(momentum=0.02, interval=10)
custom_hooks[-1].update(hours=0.1245, warmup=200)
env_cfg = dict(cudnn_benchmark=True)

model = dict(
    type='DeviceDistilledPoseEstimator',
    teacher='data/movenet_features.onnx',
    data_preprocessor=dict(
        type='DeviceCrops',
        codec=_base_.codec,
        teacher_size=(192, 256),
        megapixels=1500,
        hide_prob=0.4,
    ),
)

# pipelines: what a crop shows; its pixels and the teacher are the GPU's
train_pipeline = [
    dict(type='NamePicture'),
    dict(type='TruncateRegion', prob=0.3),
    *_base_.train_pipeline[2:6],
    dict(type='PackWarp', input_size=_base_.codec['input_size']),
]
train_pipeline[5].rotate_factor = 60

# data loaders
train_dataloader = dict(
    batch_size=512,
    num_workers=15,
    sampler=dict(type='InfiniteSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(sample_ratio_factor=[0.5, 1.5, 1.5, 3, 0.5, 1, 2, 4], pipeline=train_pipeline),
)
