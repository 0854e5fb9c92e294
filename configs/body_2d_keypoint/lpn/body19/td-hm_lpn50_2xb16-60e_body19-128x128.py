_base_ = ['../lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py', '../../../_base_/datasets/body19.py']

# runtime: an epoch is half of LSP Extended and the shares below of the others
train_cfg = dict(max_epochs=60, val_interval=4)

# learning policy: constant, and to zero in the last quarter
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=300),
    dict(
        type='PolyLR',
        power=1,
        eta_min=0,
        begin=45,
        end=60,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

# hooks: the mean over the data sets is what counts
default_hooks = dict(checkpoint=dict(save_best='torso/PCK@0.2'))

# averaged over about two epochs of 260 iterations
custom_hooks = _base_.custom_hooks
custom_hooks[1].momentum = 0.002

# codec settings
codec = _base_.codec

# model settings
model = dict(head=dict(out_channels=19), test_cfg=dict(flip_test=False))

# base dataset settings
data_mode = 'topdown'
num_keypoints = 19
crowdpose = 'configs/_base_/datasets/crowdpose.py'
mpii = 'configs/_base_/datasets/mpii.py'
coco = 'configs/_base_/datasets/coco.py'

# mapping of each layout's keypoints
crowdpose_body19 = [
    (0, 5),
    (1, 6),
    (2, 7),
    (3, 8),
    (4, 9),
    (5, 10),
    (6, 11),
    (7, 12),
    (8, 13),
    (9, 14),
    (10, 15),
    (11, 16),
    (12, 17),
    (13, 18),
]
mpii_body19 = [
    (0, 16),
    (1, 14),
    (2, 12),
    (3, 11),
    (4, 13),
    (5, 15),
    (8, 18),
    (9, 17),
    (10, 10),
    (11, 8),
    (12, 6),
    (13, 5),
    (14, 7),
    (15, 9),
]
coco_body19 = [(i, i) for i in range(17)]

# pipelines
# the box without a margin: a person of more pixels
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody', prob=0.2),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.1,
        shift_prob=0.3,
        scale_factor=(0.75, 1.5),
        rotate_factor=60,
        rotate_prob=0.6,
    ),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = _base_.val_pipeline
val_pipeline[1].padding = 1.0

# data loaders
lspet_train = dict(
    type='BaseCocoStyleDataset',
    metainfo=dict(from_file=crowdpose),
    data_root='data/lspet/',
    data_mode=data_mode,
    ann_file='annotations/lspet_train.json',
    data_prefix=dict(img='images/'),
    pipeline=[
        dict(type='KeypointConverter', num_keypoints=num_keypoints, mapping=crowdpose_body19)
    ],
)
lsp_train = dict(
    type='BaseCocoStyleDataset',
    metainfo=dict(from_file=crowdpose),
    data_root='data/lsp/',
    data_mode=data_mode,
    ann_file='annotations/lsp_train.json',
    data_prefix=dict(img='images/'),
    pipeline=lspet_train['pipeline'],
)
mpii_train = dict(
    type='BaseCocoStyleDataset',
    metainfo=dict(from_file=mpii),
    data_root='data/mpii/',
    data_mode=data_mode,
    ann_file='annotations/mpii_coco_train.json',
    data_prefix=dict(img='images/'),
    pipeline=[dict(type='KeypointConverter', num_keypoints=num_keypoints, mapping=mpii_body19)],
)
coco_train = dict(
    type='BaseCocoStyleDataset',
    metainfo=dict(from_file=coco),
    data_root='data/coco/',
    data_mode=data_mode,
    ann_file='annotations/coco_train.json',
    data_prefix=dict(img='train2017/'),
    pipeline=[dict(type='KeypointConverter', num_keypoints=num_keypoints, mapping=coco_body19)],
)
lspet_val = dict(lspet_train, ann_file='annotations/lspet_val.json', test_mode=True)
lsp_val = dict(lsp_train, ann_file='annotations/lsp_val.json', test_mode=True)
mpii_val = dict(mpii_train, ann_file='annotations/mpii_coco_val.json', test_mode=True)
coco_val = dict(coco_train, ann_file='annotations/coco_val.json', test_mode=True)
coco_val2017 = dict(
    coco_val, ann_file='annotations/person_keypoints_val2017.json', data_prefix=dict(img='val2017/')
)

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='NamedCombinedDataset',
        names=['lspet', 'lsp', 'mpii', 'coco'],
        metainfo=_base_.dataset_info,
        datasets=[lspet_train, lsp_train, mpii_train, coco_train],
        sample_ratio_factor=[0.5, 1, 1.5, 3],
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='NamedCombinedDataset',
        names=['lspet', 'lsp', 'mpii', 'coco', 'coco_val2017'],
        metainfo=_base_.dataset_info,
        datasets=[lspet_val, lsp_val, mpii_val, coco_val, coco_val2017],
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

# evaluators: PCK@0.2 and @0.1 of the torso, twelve joints of the limbs
val_evaluator = dict(
    type='TorsoPCKAccuracy',
    by_dataset=True,
    keypoints=[
        f'{side}_{joint}'
        for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
        for side in ('left', 'right')
    ],
)
test_evaluator = val_evaluator
