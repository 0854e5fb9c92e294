_base_ = ['../../../_base_/lpn_runtime.py']

# runtime
train_cfg = dict(max_epochs=60, val_interval=2)
randomness = dict(seed=0)

# optimizer
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0),
)

# learning policy
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.002,
        begin=0,
        end=60,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=32)

# hooks
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=2, save_best='torso/PCK@0.2', rule='greater')
)

custom_hooks = [
    dict(type='SyncBuffersHook'),
    # averaged over about an epoch, they are better by far while the learning
    # rate is high
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.004,
        update_buffers=True,
        priority=49,
    ),
]

# codec settings
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(256, 256), heatmap_size=(64, 64), sigma=2)

# model settings
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    # 60 epochs from scratch leave no time to get away from N(0, 0.001)
    backbone=dict(type='LPN', depth=50, init_cfg=None),
    head=dict(
        type='LPNHead',
        out_channels=14,
        loss=dict(type='KeypointMSESoftmaxLoss'),
        decoder=codec,
        init_cfg=dict(type='Normal', std=0.001, override=dict(name='final_layer')),
    ),
    train_cfg=dict(compute_acc=False),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True),
)

# base dataset settings
dataset_type = 'LspetDataset'
data_mode = 'topdown'
data_root = 'data/lspet/'

# pipelines
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.08,
        shift_prob=0.3,
        scale_factor=(0.75, 1.25),
        rotate_factor=60,
        rotate_prob=0.6,
    ),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]

# data loaders
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/lspet_train.json',
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/lspet_val.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

# evaluators: PCK@0.2 and @0.1 of the torso
val_evaluator = dict(type='TorsoPCKAccuracy')
test_evaluator = val_evaluator
