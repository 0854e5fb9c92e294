_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
    '../../../_base_/lpn_imports.py',
]

# runtime
train_cfg = dict(max_epochs=150)

# optimizer
optim_wrapper = dict(optimizer=dict(lr=1e-3))

# learning policy: the original code has no warm-up
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=150, milestones=[90, 120], gamma=0.1, by_epoch=True)
]

# automatically scaling LR based on the actual training batch size
auto_scale_lr = dict(base_batch_size=256)

# hooks
default_hooks = dict(
    channels_last=dict(type='ChannelsLastHook'),
    reuse_memory=dict(type='ReuseMemoryHook'),
    checkpoint=dict(backend_args=dict(backend='atomic')),
)

# codec settings
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)

# model settings
model = dict(
    # the original code was trained on BGR, with the mean and std in RGB order
    data_preprocessor=dict(bgr_to_rgb=False),
    backbone=dict(_delete_=True, type='LPN', depth=50),
    head=dict(type='LPNHead', in_channels=512, decoder=codec),
)

# pipelines: the original code reads images without their EXIF orientation
train_pipeline = [
    dict(type='LoadImage', color_type='color_ignore_orientation'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    # standard deviations of 0.3 and 40 degrees, clipped at one and at two
    dict(
        type='ClippedBBoxTransform',
        shift_prob=0,
        scale_factor=(0.7, 1.3),
        rotate_factor=80,
        rotate_prob=0.6,
    ),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage', color_type='color_ignore_orientation'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]

# data loaders; ground-truth boxes instead of the detector's:
# --cfg-options val_dataloader.dataset.bbox_file=None
#               test_dataloader.dataset.bbox_file=None
dataset_type = 'OriginalCocoDataset'
train_dataloader = dict(batch_size=32, dataset=dict(type=dataset_type, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type=dataset_type, pipeline=val_pipeline))
test_dataloader = val_dataloader

# evaluators
val_evaluator = dict(type='OriginalCocoMetric')
test_evaluator = val_evaluator
