_base_ = './truncated.py'
custom_imports = dict(imports=[*_base_.custom_imports['imports'], 'on_gpu'])

# with PYTHONPATH=projects/body and pip install onnx2torch, from the weights of the fifth run. By
# iterations: no worker waits for an epoch's end
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=1_000_000, val_interval=1_000_000
)
log_processor = dict(by_epoch=False)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
load_from = 'work_dirs/fifth.pth'

# hooks: averaged over 500 iterations, every tenth
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500))
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(momentum=0.02, interval=10)
custom_hooks[-1].update(hours=0.1385, warmup=200)
env_cfg = dict(cudnn_benchmark=True)

model = dict(
    type='DeviceDistilledPoseEstimator',
    teacher='data/movenet_features.onnx',
    teacher_size=(192, 256),
    data_preprocessor=dict(type='BatchAugmentation'),
)

# pipelines: the teacher is the model's
train_pipeline = _base_.train_pipeline
train_pipeline[0].type = 'LoadImageOnce'
train_pipeline[5].rotate_factor = 60
train_pipeline[-1].type = 'PackArrays'
train_pipeline.pop(6)

# data loaders
train_dataloader = dict(
    batch_size=512,
    num_workers=15,
    pin_memory=True,
    sampler=dict(type='InfiniteSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(sample_ratio_factor=[0.45, 1.5, 1.5, 3, 0.5, 1, 2, 4], pipeline=train_pipeline),
)
